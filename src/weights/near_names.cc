// SPDX-License-Identifier: Apache-2.0
#include "weights/near_names.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace quern {
namespace {

constexpr size_t kMaxLength = 256;  // the distance takes the product of both lengths
constexpr size_t kMaxNames = 3;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Insertions, deletions and replacements that turn a into b (Levenshtein), one row of the table at
// a time.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> near_names(std::string_view name, const std::vector<std::string>& known) {
  std::vector<std::pair<size_t, std::string>> near;
  if (name.size() > kMaxLength) return {};
  const size_t limit = std::max<size_t>(2, name.size() / 3);
  for (const std::string& candidate : known)
    if (candidate.size() <= kMaxLength)
      if (const size_t d = distance(name, candidate); d <= limit) near.emplace_back(d, candidate);
  std::ranges::sort(near);
  if (near.size() > kMaxNames) near.resize(kMaxNames);
  std::vector<std::string> out;
  out.reserve(near.size());
  for (auto& [d, candidate] : near) out.push_back(std::move(candidate));
  return out;
}

}  // namespace quern
