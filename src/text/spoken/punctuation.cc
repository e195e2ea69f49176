// SPDX-License-Identifier: Apache-2.0
// Punctuation of text that will be read aloud, by the rules of GLM-TTS's text front end.
#include "text/spoken/punctuation.h"

#include <algorithm>

#include "text/jinja/python_text.h"
#include "text/spoken/readings.h"
#include "text/spoken/symbols.h"

namespace quern::spoken {
namespace {

using jinja::is_space;
using jinja::is_word;

bool is_one_of(char32_t c, std::u32string_view set) {
  return set.find(c) != std::u32string_view::npos;
}

constexpr std::u32string_view kBrackets = U"()（）【】「」`《》『』{}[]";

// Every run of characters of `set` becomes `replacement`.
std::u32string replace_runs(std::u32string_view text,
                            std::u32string_view set,
                            std::u32string_view replacement) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) {
    if (!is_one_of(text[at], set)) {
      out += text[at++];
      continue;
    }
    while (at < text.size() && is_one_of(text[at], set)) ++at;
    out += replacement;
  }
  return out;
}

std::u32string replace_all(std::u32string_view text,
                           std::u32string_view from,
                           std::u32string_view to) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) {
    if (starts_with(text, at, from)) {
      out += to;
      at += from.size();
    } else {
      out += text[at++];
    }
  }
  return out;
}

std::u32string_view strip(std::u32string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// A star is read where numbers or letters stand on both sides (there may be brackets and spaces
// between); all other stars go. `numbers` are the digits of the language.
std::u32string replace_stars(std::u32string_view text,
                             std::u32string_view numbers,
                             std::u32string_view spoken) {
  const auto is_factor = [&](size_t at) {
    return at < text.size() && (is_ascii_letter(text[at]) || is_one_of(text[at], numbers));
  };
  std::u32string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != U'*') {
      out += text[at];
      continue;
    }
    size_t begin = at, end = at + 1;
    while (begin > 0 && is_space(text[begin - 1])) --begin;
    while (end < text.size() && is_space(text[end])) ++end;
    const bool is_behind =
        begin > 0 &&
        (is_factor(begin - 1) || (text[begin - 1] == U')' && begin > 1 && is_factor(begin - 2)));
    const bool is_before = is_factor(end) || (is_at(text, end, U'(') && is_factor(end + 1));
    if (!is_behind || !is_before) continue;
    out.resize(out.size() - (at - begin));
    out += spoken;
    at = end - 1;
  }
  return out;
}

// 额 by itself is a sound, not a forehead.
std::u32string replace_lone_sound(std::u32string_view text) {
  std::u32string out(text);
  const auto is_outside = [&](size_t at) { return at >= text.size() || !is_word(text[at]); };
  for (size_t at = 0; at < text.size(); ++at)
    if (text[at] == U'额' && (at == 0 || is_outside(at - 1)) && is_outside(at + 1)) out[at] = U'呃';
  return out;
}

std::u32string lower(std::u32string_view text) {
  return jinja::decode_utf8(jinja::to_lower(jinja::encode_utf8(text)));
}

bool is_ascii_alphanumeric(char32_t c) {
  return is_ascii_letter(c) || is_ascii_digit(c);
}

// A space stays between two ASCII letters or digits and between an ASCII mark and one.
std::u32string keep_needed_spaces(std::u32string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != U' ') {
      out += text[at];
      continue;
    }
    const size_t begin = at;
    while (is_at(text, at + 1, U' ')) ++at;
    if (begin == 0 || at + 1 >= text.size() || !is_ascii_alphanumeric(text[at + 1])) continue;
    const char32_t before = text[begin - 1];
    if (is_ascii_alphanumeric(before) || is_one_of(before, U".,!?;:")) out += U' ';
  }
  return out;
}

// One space behind each mark and none before it.
std::u32string space_marks(std::u32string_view text) {
  std::u32string out;
  size_t fixed = 0;  // characters of `out` that stay
  for (size_t at = 0; at < text.size(); ++at) {
    if (!is_one_of(text[at], U".,?!':;")) {
      out += text[at];
      continue;
    }
    while (out.size() > fixed && is_space(out.back())) out.pop_back();
    out += text[at];
    out += U' ';
    fixed = out.size();
    while (at + 1 < text.size() && is_space(text[at + 1])) ++at;
  }
  return std::u32string(strip(out));
}

}  // namespace

bool contains_chinese(std::u32string_view text) {
  return std::any_of(
      text.begin(), text.end(), [](char32_t c) { return c >= 0x4E00 && c <= 0x9FFF; });
}

bool is_pause(char32_t c) {
  return is_one_of(c, U"。？！；：、.?!;:，,");
}

std::u32string finish_chinese(std::u32string_view text) {
  std::u32string out = replace_all(text, U"\\", U"");
  out = replace_lone_sound(out);
  out = replace_runs(out, U"~～", U"。");
  out = replace_stars(out, U"一二三四五六七八九十百千万亿", U"乘");
  out = std::u32string(strip(out));
  out = replace_runs(out, kBrackets, U"");
  out = replace_runs(out, U"‘’", U"");
  out = replace_all(out, U" - ", U"，");
  out = replace_all(out, U"——", U"，");
  out = replace_runs(out, U",:：;；、", U"，");
  out = replace_runs(out, U".…", U"。");
  out = replace_runs(out, U"_·", U"");
  out = replace_runs(out, U"'\"‘’“”|", U"");
  return lower(say_symbols_in_chinese(out));
}

std::u32string finish_english(std::u32string_view text) {
  std::u32string out = replace_runs(text, kBrackets, U"");
  out = replace_stars(out, U"0123456789", U"multiply");
  out = replace_all(out, U"—", U" ");
  out = replace_all(out, U"’", U"'");
  out = spell_left_digits(out);
  std::u32string kept;
  for (size_t at = 0; at < out.size(); ++at) {
    const char32_t c = is_space(out[at]) ? U' ' : out[at];
    if (c == U' ' && at > 0 && is_space(out[at - 1])) continue;
    if (c == U' ' || is_word(c) || is_one_of(c, U".,!?':;")) kept += c;
  }
  kept = lower(kept);
  out.clear();
  for (const char32_t c : kept)
    if (out.empty() || c != out.back() || !is_one_of(c, U".,!?':;")) out += c;
  return space_marks(out);
}

std::u32string finish_marks(std::u32string_view text) {
  const std::u32string spaced = keep_needed_spaces(text);
  std::u32string out;
  for (size_t at = 0; at < spaced.size(); ++at) {
    if (is_pause(spaced[at]) && at + 1 < spaced.size() && is_pause(spaced[at + 1])) continue;
    const char32_t c = spaced[at] == U'！' ? U'。' : spaced[at] == U'!' ? U'.' : spaced[at];
    if (c != U'#') out += c;
  }
  if (!out.empty() && (out.back() == U'?' || out.back() == U'？')) return out;
  const char32_t stop = contains_chinese(out) ? U'。' : U'.';
  if (!out.empty() && is_pause(out.back())) out.pop_back();
  return out + stop;
}

}  // namespace quern::spoken
