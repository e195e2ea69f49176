// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "base/format.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

char32_t simple_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
char32_t simple_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c)));
}

// Characters whose upper case is longer than one character (Unicode, SpecialCasing): Latin letters
// and ligatures.
struct LongUpper {
  char32_t character;
  std::u32string_view upper, title;
};
constexpr std::array kLongUppers = {
    LongUpper{0xDF, U"SS", U"Ss"},
    LongUpper{0x149, U"\u02BCN", U"\u02BCN"},
    LongUpper{0x1F0, U"J\u030C", U"J\u030C"},
    LongUpper{0x587, U"\u0535\u0552", U"\u0535\u0582"},
    LongUpper{0xFB00, U"FF", U"Ff"},
    LongUpper{0xFB01, U"FI", U"Fi"},
    LongUpper{0xFB02, U"FL", U"Fl"},
    LongUpper{0xFB03, U"FFI", U"Ffi"},
    LongUpper{0xFB04, U"FFL", U"Ffl"},
    LongUpper{0xFB05, U"ST", U"St"},
    LongUpper{0xFB06, U"ST", U"St"},
};

const LongUpper* long_upper(char32_t c) {
  const auto* found = std::find_if(kLongUppers.begin(),
                                   kLongUppers.end(),
                                   [&](const LongUpper& entry) { return entry.character == c; });
  return found == kLongUppers.end() ? nullptr : found;
}

bool is_cased(char32_t c) {
  return is_upper_case(c) || is_lower_case(c) || is_title_case(c);
}

bool is_case_ignorable(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' ||
         c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019;
}

// A capital sigma at the end of a word becomes the final small sigma.
bool is_final_sigma(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = at + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_upper(char32_t c, std::u32string& out) {
  if (const LongUpper* entry = long_upper(c)) {
    out += entry->upper;
  } else {
    out += simple_upper(c);
  }
}

void append_title(char32_t c, std::u32string& out) {
  if (const LongUpper* entry = long_upper(c)) {
    out += entry->title;
  } else {
    out += simple_title(c);
  }
}

void append_lower(std::u32string_view text, size_t at, std::u32string& out) {
  const char32_t c = text[at];
  if (c == 0x130) {
    out += U"i\u0307";
  } else if (c == 0x3A3) {
    out += is_final_sigma(text, at) ? U'\u03C2' : U'\u03C3';
  } else {
    out += simple_lower(c);
  }
}

template <typename Append>
std::string mapped(std::string_view text, Append append) {
  const std::u32string points = decode_utf8(text);
  std::u32string out;
  out.reserve(points.size());
  for (size_t i = 0; i < points.size(); ++i) append(std::u32string_view(points), i, out);
  return encode_utf8(out);
}

}  // namespace

bool is_ascii(std::string_view text) {
  return std::all_of(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

size_t char_count(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0, length = 0; at < text.size(); at += length) out += utf8_at(text, at, length);
  return out;
}

std::string encode_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(c, out);
  return out;
}

bool is_space(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}

bool is_digit(char32_t c) {
  const bool is_small = c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
                        (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
  const bool is_circled =
      (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247C) || (c >= 0x2488 && c <= 0x2490);
  return is_decimal(c) || is_small || is_circled;
}

bool is_numeric(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  const auto k = category(c);
  return k != UTF8PROC_CATEGORY_CN && k < UTF8PROC_CATEGORY_ZS;
}

bool is_word(char32_t c) {
  return is_alpha(c) || is_numeric(c) || c == '_';
}

bool is_upper_case(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216F) ||
         (c >= 0x24B6 && c <= 0x24CF);
}

bool is_lower_case(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA ||
         (c >= 0x2170 && c <= 0x217F) || (c >= 0x24D0 && c <= 0x24E9);
}

bool is_title_case(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LT;
}

std::string to_upper(std::string_view text) {
  return mapped(
      text, [](std::u32string_view t, size_t i, std::u32string& out) { append_upper(t[i], out); });
}

std::string to_lower(std::string_view text) {
  return mapped(
      text, [](std::u32string_view t, size_t i, std::u32string& out) { append_lower(t, i, out); });
}

std::string to_title(std::string_view text) {
  return mapped(text, [](std::u32string_view t, size_t i, std::u32string& out) {
    if (i > 0 && is_cased(t[i - 1])) {
      append_lower(t, i, out);
    } else {
      append_title(t[i], out);
    }
  });
}

std::string capitalize(std::string_view text) {
  return mapped(text, [](std::u32string_view t, size_t i, std::u32string& out) {
    if (i > 0) {
      append_lower(t, i, out);
    } else {
      append_title(t[i], out);
    }
  });
}

std::string swap_case(std::string_view text) {
  return mapped(text, [](std::u32string_view t, size_t i, std::u32string& out) {
    if (is_upper_case(t[i])) {
      append_lower(t, i, out);
    } else if (is_lower_case(t[i])) {
      append_upper(t[i], out);
    } else {
      out += t[i];
    }
  });
}

void append_quoted(std::string_view text, std::string& out) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    const char32_t c = utf8_at(text, at, length);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
      out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (is_printable(c)) {
      out += text.substr(at, length);
    } else if (c < 0x100) {
      out += format("\\x{:02x}", static_cast<uint32_t>(c));
    } else {
      out += c < 0x10000 ? format("\\u{:04x}", static_cast<uint32_t>(c))
                         : format("\\U{:08x}", static_cast<uint32_t>(c));
    }
  }
  out += quote;
}

}  // namespace quern::jinja
