// SPDX-License-Identifier: Apache-2.0
// Where a MODEL argument leads, on this machine: the weights room's look-up, fed with this
// process's environment and folders.
#pragma once

#include <string>

#include "text/tokenizer/tokenizer.h"
#include "weights/model_path.h"

namespace quern {

// Throws not_found, ModelNotCached or invalid_argument, saying where was looked.
ResolvedModel find_model(const std::string& name);

// The tokenizer alone, without weights.
Tokenizer open_tokenizer(const ResolvedModel& model);

}  // namespace quern
