// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "text/tokenizer/tokenizer.h"

namespace quern {

// The body of /tokenizer_info: what stands in the model's tokenizer_config.json, if it has one, the
// chat template that is in use, and the vocabulary's size. `chat_template` replaces the model's
// own; empty: not.
std::string tokenizer_info(const std::string& model_path,
                           const std::string& chat_template,
                           const Tokenizer& tokenizer);

}  // namespace quern
