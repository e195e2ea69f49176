// SPDX-License-Identifier: Apache-2.0
// Regular expressions in Oniguruma's default (Ruby) syntax over UTF-8, with bounded backtracking.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct Span {
  size_t begin = 0, end = 0;  // bytes
};

class Regex {
 public:
  // Throws invalid_argument with Oniguruma's words if the pattern does not compile or is longer
  // than 64 KiB.
  explicit Regex(std::string pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  const std::string& pattern() const { return pattern_; }
  // All matches, left to right, not overlapping; an empty match directly after another is skipped.
  // `text` is valid UTF-8. The work is bounded by a multiple of the text's length: a pattern that
  // backtracks more throws `exhausted`. Thread-safe.
  std::vector<Span> find_all(std::string_view text) const;

 private:
  struct Compiled;
  std::string pattern_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace quern
