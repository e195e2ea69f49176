// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/json_text.h"

#include "api/parsers/answer_writer.h"

namespace quern {
namespace {

constexpr std::string_view kEscapes = "\"\\/bfnrt";

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Skips digits; whether there was one.
bool digits(std::string_view& text) {
  const size_t before = text.size();
  while (!text.empty() && is_digit(text[0])) text.remove_prefix(1);
  return text.size() < before;
}

}  // namespace

bool JsonText::is_number_whole() const {
  std::string_view text = number_;
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.size() > 1 && text[0] == '0' && is_digit(text[1])) return false;
  if (!digits(text)) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (!digits(text)) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (!digits(text)) return false;
  }
  return text.empty();
}

bool JsonText::ends_whole() const {
  return open_.empty() && at_ == At::number && is_number_whole();
}

std::optional<std::string> JsonText::whole(std::string_view text) {
  JsonText json;
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const Step step = json.step(text[i], out);
    if (step == Step::more) continue;
    if (step == Step::done && i + 1 == text.size()) return out;
    return std::nullopt;
  }
  if (json.ends_whole()) return out;
  return std::nullopt;
}

JsonText::Step JsonText::behind_value() {
  at_ = open_.empty() ? At::end : At::more_or_end;
  return open_.empty() ? Step::done : Step::more;
}

JsonText::Step JsonText::close(char c, std::string& out) {
  if (open_.empty() || open_.back() != (c == '}' ? '{' : '[')) return Step::broken;
  open_.pop_back();
  out += c;
  return behind_value();
}

JsonText::Step JsonText::value(char c, std::string& out) {
  if (c == '{' || c == '[') {
    if (open_.size() >= kMaxDepth) return Step::broken;
    open_.push_back(c);
    at_ = c == '{' ? At::first_key : At::first_item;
  } else if (c == '"') {
    at_ = At::string;
    is_key_ = false;
  } else if (c == '-' || is_digit(c)) {
    at_ = At::number;
    number_ = c;
  } else {
    literal_ = c == 't' ? "rue" : c == 'f' ? "alse" : c == 'n' ? "ull" : "";
    if (literal_.empty()) return Step::broken;
    at_ = At::literal;
  }
  out += c;
  return Step::more;
}

JsonText::Step JsonText::in_string(char c, std::string& out) {
  if (c == '"') {
    out += c;
    if (!is_key_) return behind_value();
    at_ = At::colon;
    return Step::more;
  }
  if (c == '\\')
    at_ = At::escape;  // written once it is known what follows
  else
    out += static_cast<unsigned char>(c) < 0x20 ? json_escaped(std::string_view(&c, 1))
                                                : std::string(1, c);
  return Step::more;
}

JsonText::Step JsonText::escape(char c, std::string& out) {
  at_ = At::string;
  if (kEscapes.find(c) != std::string_view::npos) {
    out += {'\\', c};
    return Step::more;
  }
  if (c == 'u') {
    at_ = At::unicode;
    digits_left_ = 4;
    out += "\\u";
    return Step::more;
  }
  out += "\\\\";
  return in_string(c, out);
}

JsonText::Step JsonText::step(char c, std::string& out) {
  switch (at_) {
    case At::string:
      return in_string(c, out);
    case At::escape:
      return escape(c, out);
    case At::unicode:
      if (!is_hex(c)) return Step::broken;
      out += c;
      if (--digits_left_ == 0) at_ = At::string;
      return Step::more;
    case At::literal:
      if (c != literal_[0]) return Step::broken;
      literal_.remove_prefix(1);
      out += c;
      return literal_.empty() ? behind_value() : Step::more;
    case At::number:
      if (is_digit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-') {
        number_ += c;
        out += c;
        return number_.size() > 512 ? Step::broken : Step::more;
      }
      if (!is_number_whole()) return Step::broken;
      if (behind_value() == Step::done) return Step::behind;
      break;  // the byte is what follows in the container
    default:
      break;
  }
  return between(c, out);
}

// Outside of strings, numbers and words.
JsonText::Step JsonText::between(char c, std::string& out) {
  if (is_space(c)) {
    out += c;
    return Step::more;
  }
  switch (at_) {
    case At::value:
      return value(c, out);
    case At::first_item:
      return c == ']' ? close(c, out) : value(c, out);
    case At::first_key:
      if (c == '}') return close(c, out);
      [[fallthrough]];
    case At::key:
      if (c != '"') return Step::broken;
      at_ = At::string;
      is_key_ = true;
      break;
    case At::colon:
      if (c != ':') return Step::broken;
      at_ = At::value;
      break;
    case At::more_or_end:
      if (c != ',') return c == '}' || c == ']' ? close(c, out) : Step::broken;
      at_ = open_.back() == '{' ? At::key : At::value;
      break;
    default:
      return Step::broken;
  }
  out += c;
  return Step::more;
}

}  // namespace quern
