// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/code_set.h"

#include <algorithm>

namespace quern {
namespace {

constexpr CodeRange kSurrogates = {0xD800, 0xDFFF};

}  // namespace

CodeSet CodeSet::all() {
  return range(0, kMax);
}

CodeSet CodeSet::range(uint32_t first, uint32_t last) {
  CodeSet out;
  const auto add = [&](uint32_t low, uint32_t high) {
    if (low <= high) out.ranges_.push_back({low, high});
  };
  if (last < kSurrogates.first || first > kSurrogates.last) {
    add(first, last);
  } else {
    if (first < kSurrogates.first) add(first, kSurrogates.first - 1);
    if (last > kSurrogates.last) add(kSurrogates.last + 1, last);
  }
  return out;
}

CodeSet CodeSet::of(std::string_view ascii) {
  CodeSet out;
  for (const char c : ascii) out = out | one(static_cast<unsigned char>(c));
  return out;
}

bool CodeSet::has(uint32_t code) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [code](const CodeRange& r) {
    return r.first <= code && code <= r.last;
  });
}

CodeSet CodeSet::operator|(const CodeSet& other) const {
  std::vector<CodeRange> sorted = ranges_;
  sorted.insert(sorted.end(), other.ranges_.begin(), other.ranges_.end());
  std::sort(sorted.begin(), sorted.end());
  CodeSet out;
  for (const CodeRange& r : sorted) {
    if (!out.ranges_.empty() && r.first <= out.ranges_.back().last + 1)
      out.ranges_.back().last = std::max(out.ranges_.back().last, r.last);
    else
      out.ranges_.push_back(r);
  }
  return out;
}

CodeSet CodeSet::operator&(const CodeSet& other) const {
  CodeSet out;
  size_t i = 0, j = 0;
  while (i < ranges_.size() && j < other.ranges_.size()) {
    const CodeRange &a = ranges_[i], &b = other.ranges_[j];
    const uint32_t first = std::max(a.first, b.first), last = std::min(a.last, b.last);
    if (first <= last) out.ranges_.push_back({first, last});
    (a.last < b.last ? i : j) += 1;
  }
  return out;
}

CodeSet CodeSet::operator~() const {
  CodeSet out;
  uint32_t next = 0;
  for (const CodeRange& r : ranges_) {
    if (r.first > next) out = out | range(next, r.first - 1);
    next = r.last + 1;
  }
  return next <= kMax ? out | range(next, kMax) : out;
}

std::u32string code_points(std::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead >= 0x80 && (lead < 0xC2 || i + length > text.size())) {
      out += char32_t{0xFFFD};
      ++i;
      continue;
    }
    uint32_t code = length == 1 ? lead : lead & (0xFFu >> (length + 1));
    for (size_t k = 1; k < length; ++k)
      code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    out += static_cast<char32_t>(code);
    i += length;
  }
  return out;
}

std::string utf8_of(uint32_t code) {
  const auto tail = [code](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xC0 | code >> 6), tail(0)};
  if (code < 0x10000) return {static_cast<char>(0xE0 | code >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | code >> 18), tail(12), tail(6), tail(0)};
}

}  // namespace quern
