// SPDX-License-Identifier: Apache-2.0
// Reading typed fields of small JSON objects (components, token entries). Not for vocabularies:
// look-up is linear.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace quern {

// The field, or nullptr if it is missing or null. Throws data_loss if `object` is not an object.
const Json* find_field(const Json& object, std::string_view key);
// The field with its type checked; `fallback` if it is missing or null. Throw data_loss naming the
// field.
bool bool_field(const Json& object, std::string_view key, bool fallback);
std::string string_field(const Json& object, std::string_view key, std::string_view fallback = {});
// The field, which must be an array. Throws data_loss.
const Json& array_field(const Json& object, std::string_view key);
// A whole number in 0..max. Throws data_loss naming `what`.
int32_t id_value(const Json& json, int32_t max, std::string_view what);

}  // namespace quern
