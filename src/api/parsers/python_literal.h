// SPDX-License-Identifier: Apache-2.0
// Python's literals, as models write them in calls, → JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quern {

// Strings (also adjacent ones), numbers, True, False, None, lists, tuples and dicts of such; JSON's
// true, false and null too. Nothing if it is anything else or deeper than JsonText::kMaxDepth.
std::optional<std::string> python_literal_to_json(std::string_view text);

// What stands between the parentheses of a call with keyword arguments → a JSON object.
std::optional<std::string> python_arguments_to_json(std::string_view text);

bool is_identifier(std::string_view text);  // letters, digits, '_'; dots between such

}  // namespace quern
