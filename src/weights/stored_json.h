// SPDX-License-Identifier: Apache-2.0
// JSON in the files of a checkpoint: damage there is data_loss, where in a request it would be a
// bad argument.
#pragma once

#include "base/json.h"

namespace quern {

// parse_json, but throws data_loss for text that is no JSON, too long or too deep.
Json parse_stored_json(std::string_view text, std::string_view where, const JsonLimits& limits);

}  // namespace quern
