// SPDX-License-Identifier: Apache-2.0
// A text is cut into stretches, each read by the cheapest rule that fits. The rules and their costs
// are those of WeTextProcessing, which writes them as weighted transducers; here a rule proposes
// readings at a place, and the cheapest row of readings from one end of the text to the other wins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace quern::spoken {

// What a reading costs: the weight of its rule, and the small weights inside the rule, which decide
// between ways to say the same. The reference adds up in float32, where far into a text the small
// ones are lost.
struct Cost {
  float rule = 0, detail = 0;

  constexpr Cost& operator+=(const Cost& other) {
    rule += other.rule;
    detail += other.detail;
    return *this;
  }
  friend constexpr Cost operator+(Cost a, const Cost& b) { return a += b; }
};

constexpr Cost weight(double rule) {
  return {static_cast<float>(rule), 0};
}
constexpr Cost small_weight(double detail) {
  return {0, static_cast<float>(detail)};
}

enum class ReadingKind : uint8_t {
  spoken,            // by other words
  negative_measure,  // the same; begins with "negative ", which may become "minus "
  verbatim,          // as it is written
  mark,              // punctuation, as it is written
  blank,             // white space, which says nothing
};

// One way to read text[at, end).
struct Reading {
  size_t end = 0;
  Cost cost;
  std::string spoken;  // UTF-8
  ReadingKind kind = ReadingKind::spoken;
};

using Readings = std::vector<Reading>;

// The longest run of digits (and of terms in a sum) that a rule looks at: longer ones are read as
// several. Bounds the work at each place.
constexpr size_t kLongestRun = 40;

inline bool starts_with(std::u32string_view text, size_t at, std::u32string_view prefix) {
  return at <= text.size() && text.substr(at, prefix.size()) == prefix;
}

inline bool is_at(std::u32string_view text, size_t at, char32_t c) {
  return at < text.size() && text[at] == c;
}

inline size_t skip_spaces(std::u32string_view text, size_t at) {
  while (is_at(text, at, U' ')) ++at;
  return at;
}

inline bool is_ascii_digit(char32_t c) {
  return c >= U'0' && c <= U'9';
}

inline bool is_ascii_letter(char32_t c) {
  return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
}

// Digits 0-9 from text[at] on, at most `most`.
inline size_t count_digits(std::u32string_view text, size_t at, size_t most = kLongestRun) {
  size_t count = 0;
  while (count < most && at + count < text.size() && is_ascii_digit(text[at + count])) ++count;
  return count;
}

// text[begin, end) as it is read.
struct Stretch {
  size_t begin = 0, end = 0;
  ReadingKind kind = ReadingKind::spoken;
  std::string spoken;           // UTF-8; of the first two kinds alone
  bool is_detail_lost = false;  // the small weights were too small to count here
};

// Adds all readings that begin at a place of the text, at least one.
using AddReadings = std::function<void(size_t at, Readings& out)>;

// The cheapest row of readings from the beginning of `text` to its end. Of equal ones, the row
// whose last reading begins first (and so on backwards), then the reading added first.
std::vector<Stretch> read_cheapest(std::u32string_view text, const AddReadings& add_readings);

}  // namespace quern::spoken
