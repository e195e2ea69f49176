// SPDX-License-Identifier: Apache-2.0
// The part of YAML that configuration files for servers are written in: one flat mapping of flags
// to scalars or lists of scalars.
#pragma once

#include <istream>
#include <string>
#include <utility>
#include <vector>

namespace quern {

struct ConfigEntry {
  std::string name;
  std::vector<std::string> values;  // one, or those of a list
};

// "port: 8000", "api-key: [a, 'b']", "api-key:" and lines of "  - a" below it; comments, quotes,
// "---" at the start. Throws invalid_argument naming the line for all else: nested mappings, block
// texts, anchors and tags are never taken for something they are not.
std::vector<ConfigEntry> read_flat_yaml(std::istream& in);

}  // namespace quern
