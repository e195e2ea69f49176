// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/string_literal.h"

#include <algorithm>
#include <cstdlib>

#include "base/format.h"
#include "text/jinja/lexer.h"
#include "text/jinja/python_text.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char letter = static_cast<char>(c | 0x20);
  return letter >= 'a' && letter <= 'z' ? letter - 'a' + 10 : 99;
}

// Reads up to `most` digits at `at` and moves it behind them.
char32_t read_digits(std::string_view body, size_t& at, size_t most, int base) {
  char32_t value = 0;
  for (size_t i = 0; i < most && at < body.size() && digit_of(body[at]) < base; ++i) {
    value = value * static_cast<char32_t>(base) + static_cast<char32_t>(digit_of(body[at++]));
  }
  return value;
}

void append_code(char32_t code, int line, std::string& out) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    fail_at(
        line,
        format("a string escape names {:#x}, which is no character", static_cast<uint32_t>(code)));
  }
  append_utf8(code, out);
}

void unescape_one(std::string_view body, size_t& at, int line, std::string& out) {
  constexpr std::string_view kLetters = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
  const char c = body[at];
  if (c == '\n') {
    ++at;  // a continued line
  } else if (const size_t known = kLetters.find(c); known != std::string_view::npos) {
    out += kMeanings[known];
    ++at;
  } else if (c >= '0' && c <= '7') {
    append_code(read_digits(body, at, 3, 8), line, out);
  } else if (c == 'x' || c == 'u' || c == 'U') {
    const size_t count = c == 'x' ? 2 : c == 'u' ? 4 : 8, first = ++at;
    const char32_t code = read_digits(body, at, count, 16);
    if (at - first != count)
      fail_at(line, format("expected {} hexadecimal digits after \\{}", count, c));
    append_code(code, line, out);
  } else if (c == 'N') {
    fail_at(line, "expected a string without \\N{…}: names of characters are not known");
  } else {
    out += '\\';
  }
}

std::string_view stripped(std::string_view text) {
  size_t begin = text.size(), end = 0;
  for (size_t at = 0, length = 0; at < text.size(); at += length) {
    if (is_space(utf8_at(text, at, length))) continue;
    begin = std::min(begin, at);
    end = at + length;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

// Without underscores; nothing where one does not stand between digits.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || digit_of(text[i - 1]) == 99 ||
               digit_of(text[i + 1]) == 99) {
      return std::nullopt;
    }
  }
  return out;
}

}  // namespace

std::string unescape_literal(std::string_view body, int line) {
  std::string out;
  for (size_t at = 0; at < body.size();) {
    if (body[at] != '\\' || at + 1 == body.size()) {
      out += body[at++];
    } else {
      unescape_one(body, ++at, line, out);
    }
  }
  return out;
}

bool parse_integer(std::string_view digits, int base, Int& value) {
  value = 0;
  for (const char c : digits) {
    if (digit_of(c) >= base) return false;
    if (__builtin_mul_overflow(value, Int{base}, &value) ||
        __builtin_add_overflow(value, Int{digit_of(c)}, &value))
      return false;
  }
  return true;
}

std::optional<Int> parse_python_int(std::string_view text, int base) {
  text = stripped(text);
  const bool is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  const char letter = text.size() > 2 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : '\0';
  const int prefixed = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  if (prefixed != 0 && (base == 0 || base == prefixed)) {
    base = prefixed;
    text.remove_prefix(text[2] == '_' ? 3 : 2);
  }
  if (base == 0) base = 10;
  const auto digits = without_underscores(text);
  Int value = 0;
  if (!digits || digits->empty() || base < 2 || base > 36 || !parse_integer(*digits, base, value))
    return std::nullopt;
  return is_negative ? -value : value;
}

std::optional<double> parse_python_float(std::string_view text) {
  const auto digits = without_underscores(stripped(text));
  if (!digits || digits->empty()) return std::nullopt;
  std::string_view unsigned_part = *digits;
  if (unsigned_part[0] == '+' || unsigned_part[0] == '-') unsigned_part.remove_prefix(1);
  const std::string word = to_lower(unsigned_part);
  const bool is_word = word == "inf" || word == "infinity" || word == "nan";
  if (!is_word && unsigned_part.find_first_not_of("0123456789.eE+-") != std::string_view::npos)
    return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(digits->c_str(), &end);
  if (end != digits->c_str() + digits->size()) return std::nullopt;
  return value;
}

}  // namespace quern::jinja
