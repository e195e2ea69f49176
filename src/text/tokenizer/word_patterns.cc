// SPDX-License-Identifier: Apache-2.0
// Each matcher tries the alternatives of its pattern in order; the first that matches wins. Where
// an alternative could match in several ways, the comment says which one a backtracking engine
// finds first.
#include "text/tokenizer/word_patterns.h"

#include <iterator>

#include "text/tokenizer/unicode.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

// The character at a position: its class bits (0 past the end), code point and length.
struct Char {
  char32_t code_point = 0;
  uint16_t bits = 0;
  size_t length = 0;

  bool exists() const { return length > 0; }
  bool is(uint16_t any_of) const { return (bits & any_of) != 0; }
};

Char char_at(std::string_view text, size_t at) {
  Char c;
  if (at >= text.size()) return c;
  c.code_point = utf8_at(text, at, c.length);
  c.bits = char_class(c.code_point);
  return c;
}

// The end of the run from `at` whose characters satisfy `accepts`.
template <typename Accepts>
size_t run_end(std::string_view text, size_t at, Accepts accepts) {
  for (Char c = char_at(text, at); c.exists() && accepts(c); c = char_at(text, at)) at += c.length;
  return at;
}

size_t run_of(std::string_view text, size_t at, uint16_t any_of) {
  return run_end(text, at, [any_of](const Char& c) { return c.is(any_of); });
}

size_t newlines_end(std::string_view text, size_t at) {
  while (at < text.size() && (text[at] == '\r' || text[at] == '\n')) ++at;
  return at;
}

size_t up_to_numbers(std::string_view text, size_t at, int limit) {
  for (int i = 0; i < limit; ++i) {
    const Char c = char_at(text, at);
    if (!c.is(kNumber)) break;
    at += c.length;
  }
  return at;
}

// 's 't 're 've 'm 'll 'd. Without regard to case, "ſ" (long s) counts as an s: that is its case
// folding.
size_t contraction(std::string_view text, size_t at, bool ignores_case) {
  if (at >= text.size() || text[at] != '\'') return at;
  const std::string_view rest = text.substr(at + 1);
  const auto letter = [&](size_t i) -> char {
    if (i >= rest.size()) return 0;
    const char c = rest[i];
    return ignores_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(0), second = letter(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
  if (first == 'l' && second == 'l') return at + 3;
  if (ignores_case && rest.substr(0, 2) == "\xC5\xBF") return at + 3;
  return at;
}

// \s+(?!\S)|\s+, and before them \s*[\r\n]+ if `newlines`.
size_t whitespace(std::string_view text, size_t at, bool newlines) {
  size_t end = at, last_begin = at, after_newline = at;
  for (Char c = char_at(text, end); c.is(kSpace); c = char_at(text, end)) {
    last_begin = end;
    end += c.length;
    if (c.is(kNewline)) after_newline = end;
  }
  // \s* takes the whole run and gives back until a line end follows: the match reaches to the last
  // one.
  if (newlines && after_newline > at) return after_newline;
  // The look-ahead fails at the end of the run unless the text ends too; one character given back
  // makes it hold.
  if (end == text.size() || last_begin == at) return end;
  return last_begin;
}

// " ?X+[\r\n]*", where X is not a space. `at` if there is none.
template <typename Accepts>
size_t spaced_run(std::string_view text, size_t at, Accepts accepts) {
  const size_t begin = at < text.size() && text[at] == ' ' ? at + 1 : at;
  const size_t end = run_end(text, begin, accepts);
  return end > begin ? end : at;
}

bool is_other(const Char& c) {
  return !c.is(kSpace | kLetter | kNumber);
}

size_t match_gpt2(std::string_view text, size_t at) {
  if (const size_t end = contraction(text, at, false); end > at) return end;
  if (const size_t end = spaced_run(text, at, [](const Char& c) { return c.is(kLetter); });
      end > at)
    return end;
  if (const size_t end = spaced_run(text, at, [](const Char& c) { return c.is(kNumber); });
      end > at)
    return end;
  if (const size_t end = spaced_run(text, at, is_other); end > at) return end;
  return whitespace(text, at, false);
}

// The end of the patterns of Qwen2, Llama 3 and Kimi: numbers, other characters with line ends,
// white space.
size_t numbers_symbols_space(std::string_view text, size_t at, int numbers) {
  if (const size_t end = up_to_numbers(text, at, numbers); end > at) return end;
  if (const size_t end = spaced_run(text, at, is_other); end > at) return newlines_end(text, end);
  return whitespace(text, at, true);
}

size_t match_cl100k(std::string_view text, size_t at, int numbers) {
  if (const size_t end = contraction(text, at, true); end > at) return end;
  const Char first = char_at(text, at);
  if (first.is(kLetter)) return run_of(text, at, kLetter);
  if (!first.is(kNewline | kNumber)) {
    const size_t begin = at + first.length;
    if (const size_t end = run_of(text, begin, kLetter); end > begin) return end;
  }
  return numbers_symbols_space(text, at, numbers);
}

size_t match_qwen2(std::string_view text, size_t at) {
  return match_cl100k(text, at, 1);
}
size_t match_llama3(std::string_view text, size_t at) {
  return match_cl100k(text, at, 3);
}

bool is_upper(const Char& c) {
  return c.is(kUpperLike) && !c.is(kHan);
}
bool is_lower(const Char& c) {
  return c.is(kLowerLike) && !c.is(kHan);
}

// Upper* Lower+ from `at`, or `at`. Upper* takes its whole run; if no Lower follows, it gives back
// to the last character that is both, and Lower+ matches just that one.
size_t upper_then_lower(std::string_view text, size_t at) {
  size_t after_last_both = at, end = at;
  for (Char c = char_at(text, end); c.exists() && is_upper(c); c = char_at(text, end)) {
    end += c.length;
    if (is_lower(c)) after_last_both = end;
  }
  const size_t lower_end = run_end(text, end, is_lower);
  return lower_end > end ? lower_end : after_last_both;
}

size_t match_kimi(std::string_view text, size_t at) {
  const Char first = char_at(text, at);
  if (first.is(kHan)) return run_of(text, at, kHan);
  const bool may_lead = !first.is(kNewline | kLetter | kNumber);
  const size_t begin = may_lead ? at + first.length : at;
  // The leading character is optional: with it first, then without.
  size_t end = upper_then_lower(text, begin);
  bool is_word = end > begin;
  if (!is_word && may_lead) end = upper_then_lower(text, at), is_word = end > at;
  // Upper+ Lower*: nothing lower can follow here, else the alternative before had matched.
  if (!is_word) end = run_end(text, begin, is_upper), is_word = end > begin;
  if (!is_word && may_lead) end = run_end(text, at, is_upper), is_word = end > at;
  if (is_word) return contraction(text, end, true);
  return numbers_symbols_space(text, at, 3);
}

bool is_ascii_letter(const Char& c) {
  return (c.code_point >= 'A' && c.code_point <= 'Z') ||
         (c.code_point >= 'a' && c.code_point <= 'z');
}

size_t match_deepseek_words(std::string_view text, size_t at) {
  const Char first = char_at(text, at);
  const size_t begin = at + first.length;
  if (first.code_point < 0x80 &&
      first.is(kPunctuation | kSymbol))  // all ASCII ones stand in the pattern's list
    if (const size_t end = run_end(text, begin, is_ascii_letter); end > begin) return end;
  if (first.is(kLetter | kMark)) return run_of(text, at, kLetter | kMark);
  if (!first.is(kNewline | kPunctuation | kSymbol))
    if (const size_t end = run_of(text, begin, kLetter | kMark); end > begin) return end;
  const auto is_sign = [](const Char& c) { return c.is(kPunctuation | kSymbol); };
  if (const size_t end = spaced_run(text, at, is_sign); end > at) return newlines_end(text, end);
  return whitespace(text, at, true);
}

size_t match_kana_and_han(std::string_view text, size_t at) {
  return run_end(text, at, [](const Char& c) {
    return (c.code_point >= 0x4E00 && c.code_point <= 0x9FA5) ||
           (c.code_point >= 0x3040 && c.code_point <= 0x30FF);
  });
}

size_t match_number(std::string_view text, size_t at) {
  return up_to_numbers(text, at, 1);
}
size_t match_three_numbers(std::string_view text, size_t at) {
  return up_to_numbers(text, at, 3);
}

// $ holds at the end of the text and before any line feed. \s+ takes the run and gives back to the
// last such place. From inside a run nothing more can match; saying so at once keeps a long run
// from being read once per character.
size_t match_trailing_space(std::string_view text, size_t at) {
  if (at > 0) {
    size_t before = at - 1;
    while ((static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
    if (char_at(text, before).is(kSpace)) return at;
  }
  size_t end = at, last_good = at;
  for (Char c = char_at(text, end); c.is(kSpace); c = char_at(text, end)) {
    if (c.code_point == '\n') last_good = end;
    end += c.length;
  }
  return end == text.size() ? end : last_good;
}

struct Known {
  std::string_view regex;
  MatchAt match;
};

constexpr Known kKnown[] = {
    {patterns::kGpt2, match_gpt2},
    {patterns::kQwen2, match_qwen2},
    {patterns::kLlama3, match_llama3},
    {patterns::kKimi, match_kimi},
    {patterns::kUpToThreeNumbers, match_three_numbers},
    {patterns::kKanaAndHan, match_kana_and_han},
    {patterns::kDeepSeekWords, match_deepseek_words},
    {patterns::kNumber, match_number},
    {patterns::kTrailingSpace, match_trailing_space},
};

}  // namespace

size_t match_word_or_signs(std::string_view text, size_t at) {
  if (const size_t end = run_of(text, at, kWord); end > at) return end;
  return run_end(text, at, [](const Char& c) { return !c.is(kWord | kSpace); });
}

MatchAt find_word_pattern(std::string_view regex) {
  for (const Known& known : kKnown)
    if (known.regex == regex) return known.match;
  return nullptr;
}

}  // namespace quern
