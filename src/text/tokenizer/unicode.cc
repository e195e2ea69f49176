// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "base/error.h"
#include "text/tokenizer/unicode_versions.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

// Script=Han of Unicode 15.1 (Scripts.txt).
constexpr CharRange kHanRanges[] = {
    {0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},   {0x3005, 0x3005},
    {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3400, 0x4DBF},
    {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},   {0x16FE2, 0x16FE3},
    {0x16FF0, 0x16FF1}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B739}, {0x2B740, 0x2B81D},
    {0x2B820, 0x2CEA1}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D},
    {0x30000, 0x3134A}, {0x31350, 0x323AF}};

// White_Space (PropList.txt).
constexpr CharRange kSpaceRanges[] = {{0x09, 0x0D},
                                      {0x20, 0x20},
                                      {0x85, 0x85},
                                      {0xA0, 0xA0},
                                      {0x1680, 0x1680},
                                      {0x2000, 0x200A},
                                      {0x2028, 0x2029},
                                      {0x202F, 0x202F},
                                      {0x205F, 0x205F},
                                      {0x3000, 0x3000}};

// Alphabetic characters that are neither letters, marks nor letter numbers, and the two join
// controls.
constexpr CharRange kOtherWordRanges[] = {
    {0x200C, 0x200D}, {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

// The range that holds `c`, or nullptr.
template <typename Range, size_t N>
const Range* find_range(const Range (&ranges)[N], char32_t c) {
  const auto* after =
      std::upper_bound(std::begin(ranges), std::end(ranges), c, [](char32_t v, const Range& r) {
        return v < r.first;
      });
  return after != std::begin(ranges) && c <= (after - 1)->last ? after - 1 : nullptr;
}

uint16_t class_of_category(utf8proc_category_t category) {
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
      return kLetter | kWord | kUpperLike;
    case UTF8PROC_CATEGORY_LL:
      return kLetter | kWord | kLowerLike;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kLetter | kWord | kUpperLike | kLowerLike;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return kMark | kWord | kUpperLike | kLowerLike;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
      return kNumber | kWord;
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    case UTF8PROC_CATEGORY_PC:
      return kPunctuation | kWord;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return kSymbol;
    default:
      return 0;
  }
}

uint16_t compute_class(char32_t c) {
  const AddedRange* added = find_range(kAddedChars, c);
  uint16_t bits = class_of_category(added ? added->category
                                          : utf8proc_category(static_cast<utf8proc_int32_t>(c)));
  if (find_range(kSpaceRanges, c)) bits |= kSpace;
  if (c == '\r' || c == '\n') bits |= kNewline;
  if (find_range(kHanRanges, c)) bits |= kHan;
  if (find_range(kOtherWordRanges, c)) bits |= kWord;
  return bits;
}

constexpr size_t kTableSize = 0x10000;  // the basic plane; rarer characters are computed each time

std::array<uint16_t, kTableSize> make_class_table() {
  std::array<uint16_t, kTableSize> table;
  for (size_t c = 0; c < kTableSize; ++c) table[c] = compute_class(static_cast<char32_t>(c));
  return table;
}

bool is_between(char32_t c, char32_t first, char32_t last) {
  return c >= first && c <= last;
}

// True for common characters that no normal form changes and that never combine with what stands
// before them: text can be cut in front of them and each part normalized alone. A false "no" only
// costs time.
bool is_boundary(char32_t c, NormalForm form) {
  if (c < 0x80 || is_between(c, 0x4E00, 0x9FFF)) return true;
  if (form != NormalForm::nfc) return false;
  return c < 0x300 || is_between(c, 0x400, 0x482) || is_between(c, 0x2010, 0x2027) ||
         is_between(c, 0x3001, 0x3029) || is_between(c, 0x3041, 0x3096) ||
         is_between(c, 0x30A1, 0x30FA) || is_between(c, 0x3400, 0x4DBF) ||
         is_between(c, 0xAC00, 0xD7A3) || is_between(c, 0xFF01, 0xFF5E);
}

bool changes(char32_t c, NormalForm form) {
  return !is_boundary(c, form) && !is_unknown_to_forms(c);
}

int combining_class(int32_t c) {
  return utf8proc_get_property(c)->combining_class;
}

// Puts runs of combining marks into canonical order. utf8proc does this by insertion, which takes
// quadratic time on a long run; hence the stable sort.
void sort_marks(std::vector<int32_t>& code_points) {
  const auto is_mark = [](int32_t c) { return combining_class(c) != 0; };
  for (auto at = code_points.begin(); at != code_points.end();) {
    const auto first = std::find_if(at, code_points.end(), is_mark);
    at = std::find_if_not(first, code_points.end(), is_mark);
    std::stable_sort(
        first, at, [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
  }
}

// Appends the full decomposition of `c`.
void decompose(int32_t c, bool is_compatible, std::vector<int32_t>& out) {
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (is_compatible ? UTF8PROC_COMPAT : 0));
  std::array<utf8proc_int32_t, 32> parts;  // the longest decomposition has 18
  int boundary = 0;
  const auto count = utf8proc_decompose_char(c, parts.data(), parts.size(), options, &boundary);
  QUERN_CHECK(count >= 0 && count <= static_cast<ssize_t>(parts.size()),
              "decomposition of {} parts",
              count);
  out.insert(out.end(), parts.begin(), parts.begin() + count);
}

void append_normalized(std::string_view text, NormalForm form, std::string& out) {
  const bool is_compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  const bool is_composed = form == NormalForm::nfc || form == NormalForm::nfkc;
  std::vector<int32_t> code_points;
  for (size_t at = 0, length = 0; at < text.size(); at += length)
    decompose(static_cast<int32_t>(utf8_at(text, at, length)), is_compatible, code_points);
  sort_marks(code_points);
  auto size = static_cast<utf8proc_ssize_t>(code_points.size());
  if (is_composed)
    size = utf8proc_normalize_utf32(
        code_points.data(),
        size,
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < size; ++i)
    append_utf8(static_cast<char32_t>(code_points[i]), out);
}

char32_t lowercase(char32_t c) {
  if (const LowerRange* added = find_range(kAddedLower, c)) return c + added->offset;
  return static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(c)));
}

}  // namespace

bool is_unknown_to_forms(char32_t c) {
  return find_range(kUnknownToForms, c) != nullptr;
}

uint16_t char_class(char32_t c) {
  static const std::array<uint16_t, kTableSize> table = make_class_table();
  return c < kTableSize ? table[c] : compute_class(c);
}

std::string normalize_unicode(std::string_view text, NormalForm form) {
  std::string out;
  out.reserve(text.size());
  size_t copied = 0;  // text before this is in `out`
  size_t previous =
      0;  // where the last character that marks may combine with begins; `at` if there is none
  for (size_t at = 0, length = 0; at < text.size();) {
    const char32_t c = utf8_at(text, at, length);
    if (const bool is_boundary_here = is_boundary(c, form);
        is_boundary_here || is_unknown_to_forms(c)) {
      previous = is_boundary_here ? at : at + length;
      at += length;
      continue;
    }
    // The part to normalize begins with the character that marks may combine with.
    const size_t begin = std::max(previous, copied);
    do at += length;
    while (at < text.size() && changes(utf8_at(text, at, length), form));
    out.append(text.substr(copied, begin - copied));
    append_normalized(text.substr(begin, at - begin), form, out);
    copied = previous = at;
  }
  out.append(text.substr(copied));
  return out;
}

std::string lowercase_unicode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    const char32_t c = utf8_at(text, at, length);
    if (c == 0x130)  // the only character whose lower case is two: i and a dot above
      out += "i\xCC\x87";
    else
      append_utf8(lowercase(c), out);
  }
  return out;
}

}  // namespace quern
