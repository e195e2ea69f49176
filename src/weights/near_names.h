// SPDX-License-Identifier: Apache-2.0
// Names that were probably meant, for messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quern {

// Up to three of `known` within a third of `name`'s length in edits (case does not count), the
// nearest first.
std::vector<std::string> near_names(std::string_view name, const std::vector<std::string>& known);

}  // namespace quern
