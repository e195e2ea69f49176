// SPDX-License-Identifier: Apache-2.0
// The order of the steps, and those before the numbers.
#include "text/spoken/spoken_text.h"

#include "base/error.h"
#include "text/jinja/python_text.h"
#include "text/spoken/chinese_normalizer.h"
#include "text/spoken/chinese_numbers.h"
#include "text/spoken/emoji.h"
#include "text/spoken/english_normalizer.h"
#include "text/spoken/punctuation.h"
#include "text/spoken/readings.h"
#include "text/tokenizer/utf8.h"

namespace quern {
namespace {

using jinja::is_space;
using spoken::is_ascii_letter;
using spoken::is_at;

// What the steps add: at most five bytes for two (a line of one letter), and words for digits.
constexpr size_t kMaxPreparedBytes = 3 * kMaxSpokenBytes, kMaxReadBytes = 64 * kMaxSpokenBytes;

std::u32string decode(std::string_view text, size_t most_bytes) {
  if (text.size() > most_bytes)
    fail(ErrorCode::invalid_argument,
         "text to speak: {} bytes; at most {} are read at once, cut it into parts",
         text.size(),
         most_bytes);
  std::string valid;
  append_lossy_utf8(text, true, valid);
  return jinja::decode_utf8(valid);
}

// "1. " at the beginning becomes "1。"; a backslash and n count as a line's end.
std::u32string read_markdown(std::u32string_view text) {
  size_t digits = 0;
  while (digits < text.size() && jinja::is_decimal(text[digits])) ++digits;
  std::u32string out;
  size_t at = 0;
  if (digits > 0 && spoken::starts_with(text, digits, U". ")) {
    out = std::u32string(text.substr(0, digits)) + U"。";
    at = digits + 2;
  }
  for (; at < text.size(); ++at) {
    if (text[at] == U'\\' && is_at(text, at + 1, U'n'))
      out += U'\n', ++at;
    else
      out += text[at];
  }
  return out;
}

std::u32string_view strip(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// Every line that holds something ends with a mark.
std::u32string join_lines(std::u32string_view text) {
  constexpr std::u32string_view kEnds = U".!?;:：。！？；，";
  const bool is_chinese = spoken::contains_chinese(text);
  std::u32string out;
  bool is_first = true;
  while (!text.empty()) {
    const size_t end = text.find(U'\n');
    const std::u32string_view line = strip(text.substr(0, end));
    text = end == std::u32string_view::npos ? std::u32string_view() : text.substr(end + 1);
    if (line.empty()) continue;
    if (!is_first && !is_chinese) out += U' ';
    is_first = false;
    out += line;
    if (kEnds.find(line.back()) == std::u32string_view::npos)
      out += spoken::contains_chinese(line) ? U"。" : U". ";
  }
  return out;
}

std::u32string split_hyphenated(std::u32string text) {
  for (size_t at = 1; at + 1 < text.size(); ++at)
    if (text[at] == U'-' && is_ascii_letter(text[at - 1]) && is_ascii_letter(text[at + 1]))
      text[at] = U' ';
  return text;
}

// A hyphen between digits is 减; all others go.
std::u32string read_hyphens(std::u32string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (at > 0 && jinja::is_decimal(text[at - 1]) && !jinja::is_decimal(text[at])) {
      size_t end = at;
      while (end < text.size() && is_space(text[end])) ++end;
      if (is_at(text, end, U'-')) {
        ++end;
        while (end < text.size() && is_space(text[end])) ++end;
        if (end < text.size() && jinja::is_decimal(text[end])) {
          out += U'减';
          at = end - 1;
          continue;
        }
      }
    }
    if (text[at] != U'-') out += text[at];
  }
  return out;
}

std::u32string replace_variants(std::u32string text) {
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == U'咯' && at + 1 < text.size() && spoken::is_pause(text[at + 1]))
      text[at] = U'喽';
    if (text[at] == U'噢') text[at] = U'哦';
    if (text[at] == U'欸') text[at] = U'诶';
  }
  return text;
}

}  // namespace

PreparedText prepare_spoken_text(std::string_view text) {
  std::u32string plain = join_lines(read_markdown(decode(text, kMaxSpokenBytes)));
  plain = split_hyphenated(spoken::remove_emoji(plain));
  if (!spoken::contains_chinese(plain)) {
    for (char32_t& c : plain)
      if (c == U'\'') c = U'’';
    return {SpokenLanguage::english, jinja::encode_utf8(plain)};
  }
  plain = replace_variants(read_hyphens(spoken::spell_scientific_notation(plain)));
  return {SpokenLanguage::chinese, jinja::encode_utf8(plain)};
}

std::string read_numbers(std::string_view text, SpokenLanguage language) {
  const std::u32string plain = decode(text, kMaxPreparedBytes);
  return jinja::encode_utf8(language == SpokenLanguage::chinese ? spoken::normalize_chinese(plain)
                                                                : spoken::normalize_english(plain));
}

std::string finish_spoken_text(std::string_view text, SpokenLanguage language) {
  const std::u32string plain = decode(text, kMaxReadBytes);
  return jinja::encode_utf8(spoken::finish_marks(language == SpokenLanguage::chinese
                                                     ? spoken::finish_chinese(plain)
                                                     : spoken::finish_english(plain)));
}

std::string spoken_text(std::string_view text) {
  const PreparedText prepared = prepare_spoken_text(text);
  return finish_spoken_text(read_numbers(prepared.text, prepared.language), prepared.language);
}

}  // namespace quern
