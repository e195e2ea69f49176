// SPDX-License-Identifier: Apache-2.0
// Kimi's tokenization_kimi.py cuts long texts before it tokenizes them, and a cut changes ids;
// hence it is done here too.
#pragma once

#include <string_view>
#include <vector>

namespace quern {

// Parts of at most 400,000 characters, cut again wherever more than 25,000 characters in a row are
// white space, or are none. `text` is valid UTF-8; no part is empty.
std::vector<std::string_view> cut_long_runs(std::string_view text);

}  // namespace quern
