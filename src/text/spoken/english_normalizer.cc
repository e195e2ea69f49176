// SPDX-License-Identifier: Apache-2.0
// English text with its numbers spelled out: words, marks and what has a reading of its own, and
// the cheapest way through. Costs follow WeTextProcessing 1.0.3.
#include "text/spoken/english_normalizer.h"

#include <algorithm>

#include "text/jinja/python_text.h"
#include "text/spoken/english_addresses.h"
#include "text/spoken/english_dates.h"
#include "text/spoken/english_measures.h"
#include "text/spoken/english_numbers.h"
#include "text/spoken/english_words.h"
#include "text/spoken/readings.h"
#include "text/tokenizer/unicode.h"

namespace quern::spoken {
namespace {

constexpr Cost kWord = weight(100);

bool is_blank(char32_t c) {
  return c == U' ' || (c >= U'\t' && c <= U'\r') || c == 0xA0;
}

// Marks are punctuation and a few symbols; others of both kinds have names and count as letters.
bool is_mark_character(char32_t c) {
  constexpr std::u32string_view kNamed = U"[]&#@§_%*/";
  constexpr std::u32string_view kMore = U"<>`";
  if (kMore.find(c) != std::u32string_view::npos) return true;
  return (char_class(c) & kPunctuation) != 0 && kNamed.find(c) == std::u32string_view::npos;
}

bool is_word_character(char32_t c) {
  constexpr std::u32string_view kOutside = U"$€₩£¥#%";
  return !is_blank(c) && !is_mark_character(c) && !is_ascii_digit(c) &&
         kOutside.find(c) == std::u32string_view::npos;
}

class EnglishReader {
 public:
  explicit EnglishReader(std::u32string_view text) : text_(text), word_ends_(text.size()) {
    size_t end = text.size();
    for (size_t at = text.size(); at-- > 0;) {
      if (!is_word_character(text[at])) end = at;
      word_ends_[at] = end;
    }
  }

  void add_readings(size_t at, Readings& out) const {
    add_marks(at, out);
    if (is_blank(text_[at])) {
      size_t end = at;
      while (end < text_.size() && is_blank(text_[end])) ++end;
      out.push_back({end, {}, "", ReadingKind::blank});
      return;
    }
    add_english_dates(text_, at, out);
    add_english_numbers(text_, at, out);
    for (Reading time : english_times(text_, at)) {
      time.cost += weight(1);
      out.push_back(std::move(time));
    }
    add_english_measures(text_, at, out);
    add_english_money(text_, at, out);
    add_english_telephones(text_, at, out);
    add_english_net_addresses(text_, at, out);
    add_english_abbreviations(text_, at, out);
    add_english_ranges(text_, at, out);
    add_words(at, out);
  }

 private:
  // The rest of the word, and its beginnings, which may stand before something with a reading.
  void add_words(size_t at, Readings& out) const {
    const size_t end = word_ends_[at];
    for (size_t i = at + 1; i < end && i - at < kLongestRun; ++i)
      out.push_back({i, kWord, "", ReadingKind::verbatim});
    if (end > at) out.push_back({end, kWord, "", ReadingKind::verbatim});
    // What no rule knows stands for itself.
    if (!is_mark_character(text_[at]) && out.empty())
      out.push_back({at + 1, kWord, "", ReadingKind::verbatim});
  }

  // Marks together with the spaces around them. What stands in angle brackets is one mark.
  void add_marks(size_t at, Readings& out) const {
    size_t begin = at;
    while (is_at(text_, begin, U' ')) ++begin;
    const auto add = [&](size_t end) {
      size_t behind = end;
      while (is_at(text_, behind, U' ')) ++behind;
      // A mark costs 2, each space beside it takes 1 off.
      const auto spaces = static_cast<double>((begin - at) + (behind - end));
      out.push_back({behind, weight(2 - spaces), "", ReadingKind::mark});
    };
    for (size_t end = begin; end < text_.size() && end - begin < kLongestRun;) {
      if (!is_mark_character(text_[end])) break;
      add(++end);
    }
    if (!is_at(text_, begin, U'<')) return;
    for (size_t end = begin + 1; end < text_.size() && end - begin < kLongestRun; ++end) {
      if (is_blank(text_[end]) || text_[end] == U'<') return;
      if (text_[end] != U'>') continue;
      if (end > begin + 1) add(end + 1);
      return;
    }
  }

  std::u32string_view text_;
  std::vector<size_t> word_ends_;  // for each place, where the word there ends
};

// Far into a text the small weight that asks for the "and" of a number is lost.
std::string without_and(std::string spoken) {
  for (const std::string_view group : {"hundred and ", "thousand and "})
    for (size_t at = spoken.find(group); at != std::string::npos; at = spoken.find(group, at))
      spoken.erase(at + group.size() - 4, 4);
  return spoken;
}

std::string text_of(std::u32string_view text, const Stretch& stretch, bool has_spaced_marks) {
  if (stretch.kind == ReadingKind::spoken)
    return stretch.is_detail_lost ? without_and(stretch.spoken) : stretch.spoken;
  if (stretch.kind == ReadingKind::negative_measure) {
    // The reference's choice between the two hangs on the marks of the whole text.
    constexpr std::string_view kNegative = "negative ";
    return has_spaced_marks ? "minus " + stretch.spoken.substr(kNegative.size()) : stretch.spoken;
  }
  return jinja::encode_utf8(text.substr(stretch.begin, stretch.end - stretch.begin));
}

bool has_space_by_mark(std::u32string_view text, const std::vector<Stretch>& row) {
  return std::any_of(row.begin(), row.end(), [&](const Stretch& stretch) {
    return stretch.kind == ReadingKind::mark &&
           (text[stretch.begin] == U' ' || text[stretch.end - 1] == U' ');
  });
}

}  // namespace

std::u32string normalize_english(std::u32string_view text) {
  const EnglishReader reader(text);
  const std::vector<Stretch> row =
      read_cheapest(text, [&](size_t at, Readings& out) { reader.add_readings(at, out); });
  const bool has_spaced_marks = has_space_by_mark(text, row);
  std::string out;
  bool is_after_word = false;
  for (const Stretch& stretch : row) {
    if (stretch.kind == ReadingKind::blank) continue;
    const bool is_mark = stretch.kind == ReadingKind::mark;
    // A space stands between words, and behind marks that begin the text.
    const bool begins = out.empty();
    if (!is_mark && is_after_word) out += ' ';
    out += text_of(text, stretch, has_spaced_marks);
    is_after_word = !is_mark || begins;
  }
  if (out.ends_with(' ')) out.pop_back();
  return jinja::decode_utf8(out);
}

}  // namespace quern::spoken
