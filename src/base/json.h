// SPDX-License-Identifier: Apache-2.0
// JSON. Json keeps the order of keys (templates print it). Include <nlohmann/json.hpp> in the .cc
// file that looks inside.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace quern {

// Key look-up in a Json object is a linear search: iterate over large objects (a vocabulary), never
// index them.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  int max_depth = 128;
};

// Parses JSON from outside: one value, valid UTF-8, bounded size and depth; a repeated key keeps
// its last value. Integers that fit 64 bits stay integers. Throws invalid_argument with the
// position; `what` names the source in the message ("request body", "config.json").
Json parse_json(std::string_view text, std::string_view what, const JsonLimits& limits = {});

// One line without spaces; what is no UTF-8 becomes U+FFFD. The caller includes
// <nlohmann/json.hpp>.
std::string json_text(const Json& json);

// Reads and parses a file; not_found if it cannot be read.
Json read_json_file(const std::string& path, const JsonLimits& limits = {});

}  // namespace quern
