// SPDX-License-Identifier: Apache-2.0
#include "weights/stored_json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {

Json parse_stored_json(std::string_view text, std::string_view where, const JsonLimits& limits) {
  try {
    return parse_json(text, where, limits);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::invalid_argument) throw;
    throw Error(ErrorCode::data_loss, e.message());
  }
}

}  // namespace quern
