// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/python_literal.h"

#include <algorithm>
#include <charconv>

#include "api/parsers/answer_writer.h"
#include "api/parsers/json_text.h"

namespace quern {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& out, uint32_t point) {
  if (point >= 0xD800 && point < 0xE000) point = 0xFFFD;
  if (point > 0x10FFFF) point = 0xFFFD;
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += {static_cast<char>(0xC0 | (point >> 6)), static_cast<char>(0x80 | (point & 63))};
  } else if (point < 0x10000) {
    out += {static_cast<char>(0xE0 | (point >> 12)),
            static_cast<char>(0x80 | ((point >> 6) & 63)),
            static_cast<char>(0x80 | (point & 63))};
  } else {
    out += {static_cast<char>(0xF0 | (point >> 18)),
            static_cast<char>(0x80 | ((point >> 12) & 63)),
            static_cast<char>(0x80 | ((point >> 6) & 63)),
            static_cast<char>(0x80 | (point & 63))};
  }
}

// Recursive descent; each function returns false where the text is no literal.
class Literal {
 public:
  explicit Literal(std::string_view text) : text_(text) {}

  bool value(std::string& out, size_t depth);
  bool keywords(std::string& out);
  bool is_at_end() {
    skip_space();
    return text_.empty();
  }

 private:
  void skip_space() {
    text_.remove_prefix(std::min(text_.find_first_not_of(" \n\t\r"), text_.size()));
  }
  bool accept(char c) {
    skip_space();
    if (!text_.starts_with(c)) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::string_view word();
  bool string(std::string& out);
  bool string_body(char quote, std::string& text);
  bool escape(std::string& text);
  bool number(std::string& out);
  bool list(std::string& out, char close, size_t depth);
  bool dict(std::string& out, size_t depth);

  std::string_view text_;
};

std::string_view Literal::word() {
  const auto end = std::find_if_not(
      text_.begin(), text_.end(), [](char c) { return is_letter(c) || is_digit(c); });
  const std::string_view out = text_.substr(0, static_cast<size_t>(end - text_.begin()));
  text_.remove_prefix(out.size());
  return out;
}

bool Literal::escape(std::string& text) {
  if (text_.empty()) return false;
  const char c = text_[0];
  text_.remove_prefix(1);
  constexpr std::string_view kNames = "ntrbf0'\"\\\n",
                             kMeanings = std::string_view("\n\t\r\b\f\0'\"\\", 9);
  const size_t known = kNames.find(c);
  if (c == '\n') return true;  // a line that goes on
  if (known != std::string_view::npos) {
    text += kMeanings[known];
    return true;
  }
  const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0) {  // Python keeps a backslash that escapes nothing
    text += {'\\', c};
    return true;
  }
  uint32_t point = 0;
  if (text_.size() < digits) return false;
  const auto [end, error] = std::from_chars(text_.data(), text_.data() + digits, point, 16);
  if (error != std::errc() || end != text_.data() + digits) return false;
  text_.remove_prefix(digits);
  append_utf8(text, point);
  return true;
}

bool Literal::string_body(char quote, std::string& text) {
  while (!text_.empty()) {
    const char c = text_[0];
    text_.remove_prefix(1);
    if (c == quote) return true;
    if (c != '\\')
      text += c;
    else if (!escape(text))
      return false;
  }
  return false;
}

bool Literal::string(std::string& out) {
  std::string text;
  while (text_.starts_with('"') || text_.starts_with('\'')) {
    const char quote = text_[0];
    text_.remove_prefix(1);
    if (!string_body(quote, text)) return false;
    skip_space();
  }
  out += '"' + json_escaped(text) + '"';
  return true;
}

bool Literal::number(std::string& out) {
  const auto end = std::find_if_not(text_.begin(), text_.end(), [](char c) {
    return is_digit(c) || is_letter(c) || c == '.' || c == '+' || c == '-';
  });
  const std::string_view word = text_.substr(0, static_cast<size_t>(end - text_.begin()));
  text_.remove_prefix(word.size());
  if (word.empty()) return false;
  std::string digits;
  std::copy_if(
      word.begin(), word.end(), std::back_inserter(digits), [](char c) { return c != '_'; });
  if (digits.starts_with('+')) digits.erase(0, 1);
  if (digits.ends_with('.')) digits += '0';
  if (digits.starts_with('.')) digits.insert(0, "0");
  const auto json = JsonText::whole(digits);
  if (json) out += *json;
  return json.has_value();
}

bool Literal::list(std::string& out, char close, size_t depth) {
  out += '[';
  bool is_first = true;
  while (!accept(close)) {
    if (!is_first) {
      if (!accept(',')) return false;
      if (accept(close)) break;
      out += ", ";
    }
    is_first = false;
    if (!value(out, depth + 1)) return false;
  }
  out += ']';
  return true;
}

bool Literal::dict(std::string& out, size_t depth) {
  out += '{';
  bool is_first = true;
  while (!accept('}')) {
    if (!is_first) {
      if (!accept(',')) return false;
      if (accept('}')) break;
      out += ", ";
    }
    is_first = false;
    std::string key;
    if (!value(key, depth + 1) || key[0] == '[' || key[0] == '{' || !accept(':')) return false;
    out += key[0] == '"' ? key : '"' + key + '"';
    out += ": ";
    if (!value(out, depth + 1)) return false;
  }
  out += '}';
  return true;
}

bool Literal::value(std::string& out, size_t depth) {
  skip_space();
  if (text_.empty() || depth > JsonText::kMaxDepth) return false;
  const char c = text_[0];
  if (c == '"' || c == '\'') return string(out);
  if (accept('[')) return list(out, ']', depth);
  if (accept('(')) return list(out, ')', depth);
  if (accept('{')) return dict(out, depth);
  if (!is_letter(c)) return number(out);
  const std::string_view name = word();
  if (name == "True" || name == "true")
    out += "true";
  else if (name == "False" || name == "false")
    out += "false";
  else if (name == "None" || name == "null")
    out += "null";
  else
    return false;
  return true;
}

bool Literal::keywords(std::string& out) {
  out += '{';
  bool is_first = true;
  while (!is_at_end()) {
    if (!is_first) {
      if (!accept(',')) return false;
      if (is_at_end()) break;
      out += ", ";
    }
    is_first = false;
    const std::string_view name = word();
    if (!is_identifier(name) || !accept('=')) return false;
    out += '"' + std::string(name) + "\": ";
    if (!value(out, 0)) return false;
  }
  out += '}';
  return true;
}

}  // namespace

std::optional<std::string> python_literal_to_json(std::string_view text) {
  Literal literal(text);
  std::string out;
  if (!literal.value(out, 0) || !literal.is_at_end()) return std::nullopt;
  return out;
}

std::optional<std::string> python_arguments_to_json(std::string_view text) {
  Literal literal(text);
  std::string out;
  if (!literal.keywords(out)) return std::nullopt;
  return out;
}

bool is_identifier(std::string_view text) {
  char before = '.';
  for (const char c : text) {
    if (!is_letter(c) && !(is_digit(c) && before != '.') && !(c == '.' && before != '.'))
      return false;
    before = c;
  }
  return before != '.';
}

}  // namespace quern
