// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja/python_text.h"
#include "text/jinja/string_literal.h"
#include "text/tokenizer/utf8.h"

namespace quern::jinja {
namespace {

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
}

// \r\n and \r become \n; one newline at the very end goes.
std::string with_plain_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_plain_newlines(source)) {}
  std::vector<Token> run();

 private:
  struct Tag {
    size_t at;      // of its first brace
    char opener;    // '{', '%' or '#'
    char sign;      // '-', '+' or 0
    size_t inside;  // first byte after the sign
  };

  Tag next_tag() const;
  void data(const Tag& tag);
  void comment();
  bool raw(const Tag& tag);
  void tag_tokens(bool is_block);
  bool close_tag(bool is_block);
  void token_inside();
  void number();
  void name();
  void quoted();
  void symbol();

  void emit(Token::Type type, std::string text = {}) {
    tokens_.push_back({type, line_, std::move(text), 0, 0});
  }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  bool at_text(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }
  void advance_to(size_t at);
  size_t skip_space(size_t at) const;
  size_t digits_from(size_t at, int base) const;

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool is_line_start_ = true;  // what was read last ended with a newline
  std::vector<char> open_;     // closing brackets that are waited for
  std::vector<Token> tokens_;
};

void Lexer::advance_to(size_t at) {
  line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                       source_.begin() + static_cast<std::ptrdiff_t>(at),
                                       '\n'));
  if (at > at_) is_line_start_ = source_[at - 1] == '\n';
  at_ = at;
}

size_t Lexer::skip_space(size_t at) const {
  for (size_t length = 0; at < source_.size() && is_space(utf8_at(source_, at, length));)
    at += length;
  return at;
}

Lexer::Tag Lexer::next_tag() const {
  for (size_t at = source_.find('{', at_); at != std::string::npos;
       at = source_.find('{', at + 1)) {
    const char opener = at + 1 < source_.size() ? source_[at + 1] : '\0';
    if (opener != '{' && opener != '%' && opener != '#') continue;
    const char sign = at + 2 < source_.size() ? source_[at + 2] : '\0';
    const bool has_sign = sign == '-' || sign == '+';
    return {at, opener, has_sign ? sign : '\0', at + 2 + has_sign};
  }
  return {source_.size(), '\0', '\0', source_.size()};
}

// The text before a tag, with what its sign or lstrip_blocks takes away.
void Lexer::data(const Tag& tag) {
  std::string_view text = std::string_view(source_).substr(at_, tag.at - at_);
  if (tag.sign == '-') {
    size_t keep = 0;
    for (size_t at = 0, length = 0; at < text.size(); at += length) {
      if (!is_space(utf8_at(text, at, length))) keep = at + length;
    }
    text = text.substr(0, keep);
  } else if (tag.sign != '+' && (tag.opener == '%' || tag.opener == '#')) {
    const size_t line_start = text.rfind('\n') + 1;  // npos + 1 is 0
    const std::string_view last = text.substr(line_start);
    const bool is_all_space = !last.empty() && skip_space(at_ + line_start) >= tag.at;
    if ((line_start > 0 || is_line_start_) && is_all_space) text = text.substr(0, line_start);
  }
  if (!text.empty()) emit(Token::Type::data, std::string(text));
  advance_to(tag.at);
}

void Lexer::comment() {
  const size_t end = source_.find("#}", at_);
  if (end == std::string::npos) fail_at(line_, "expected #} at the end of a comment");
  const char sign = end > at_ ? source_[end - 1] : '\0';
  size_t after = end + 2;
  if (sign == '-')
    after = skip_space(after);
  else if (sign != '+' && after < source_.size() && source_[after] == '\n')
    ++after;
  advance_to(after);
}

// {% raw %} … {% endraw %} stands for its own text. False where the tag is another one.
bool Lexer::raw(const Tag& tag) {
  const auto word_after = [&](size_t at, std::string_view word) {
    at = skip_space(at);
    return source_.compare(at, word.size(), word) == 0 ? skip_space(at + word.size())
                                                       : std::string::npos;
  };
  const size_t close = word_after(tag.inside, "raw");
  if (close == std::string::npos) return false;
  const bool strips_after = source_.compare(close, 3, "-%}") == 0;
  if (!strips_after && source_.compare(close, 2, "%}") != 0) return false;
  advance_to(strips_after ? skip_space(close + 3) : close + 2);
  for (size_t from = at_;;) {
    const size_t begin = source_.find("{%", from);
    if (begin == std::string::npos) fail_at(line_, "expected {% endraw %}");
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    const bool has_sign = sign == '-' || sign == '+';
    const size_t end = word_after(begin + 2 + has_sign, "endraw");
    from = begin + 2;
    if (end == std::string::npos) continue;
    const bool has_end_sign = end < source_.size() && (source_[end] == '-' || source_[end] == '+');
    if (source_.compare(end + has_end_sign, 2, "%}") != 0) continue;
    data({begin, '%', has_sign ? sign : '\0', end});
    size_t after = end + has_end_sign + 2;
    if (has_end_sign && source_[end] == '-')
      after = skip_space(after);
    else if (!has_end_sign && after < source_.size() && source_[after] == '\n')
      ++after;
    advance_to(after);
    return true;
  }
}

bool Lexer::close_tag(bool is_block) {
  const std::string_view closer = is_block ? "%}" : "}}";
  const bool has_sign = peek() == '-' || (is_block && peek() == '+');
  if (source_.compare(at_ + has_sign, 2, closer) != 0) return false;
  size_t after = at_ + has_sign + 2;
  emit(is_block ? Token::Type::block_end : Token::Type::variable_end);
  if (has_sign && peek() == '-')
    after = skip_space(after);
  else if (!has_sign && is_block && after < source_.size() && source_[after] == '\n')
    ++after;
  advance_to(after);
  return true;
}

void Lexer::tag_tokens(bool is_block) {
  emit(is_block ? Token::Type::block_begin : Token::Type::variable_begin);
  while (at_ < source_.size()) {
    if (open_.empty() && close_tag(is_block)) return;
    token_inside();
  }
}

void Lexer::token_inside() {
  const char c = peek();
  if (is_blank(c)) return advance_to(skip_space(at_));
  if (c >= '0' && c <= '9') return number();
  if (c == '\'' || c == '"') return quoted();
  size_t length = 0;
  const char32_t point = utf8_at(source_, at_, length);
  if (is_word(point)) return name();
  if (is_space(point)) return advance_to(skip_space(at_));
  symbol();
}

size_t Lexer::digits_from(size_t at, int base) const {
  const auto is_digit_at = [&](size_t i) {
    if (i >= source_.size()) return false;
    const char c = static_cast<char>(source_[i] | 0x20);
    const int digit = source_[i] >= '0' && source_[i] <= '9' ? source_[i] - '0'
                      : c >= 'a' && c <= 'f'                 ? c - 'a' + 10
                                                             : 99;
    return digit < base;
  };
  while (is_digit_at(at) || (at < source_.size() && source_[at] == '_' && is_digit_at(at + 1)))
    ++at;
  return at;
}

void Lexer::number() {
  const char letter = static_cast<char>(peek(1) | 0x20);
  const int base = peek() != '0'   ? 10
                   : letter == 'x' ? 16
                   : letter == 'o' ? 8
                   : letter == 'b' ? 2
                                   : 10;
  const size_t from = base == 10 ? at_ : at_ + 2;
  size_t end = digits_from(from, base);
  bool is_real = false;
  if (base == 10) {
    const bool follows_dot = at_ > 0 && source_[at_ - 1] == '.';  // "x.0.5" are two subscripts
    size_t real_end = end;
    if (!follows_dot && end < source_.size() && source_[end] == '.')
      real_end = std::max(digits_from(end + 1, 10), end);
    if (real_end == end + 1) real_end = end;
    if (!follows_dot && real_end < source_.size() && (source_[real_end] | 0x20) == 'e') {
      const char sign = real_end + 1 < source_.size() ? source_[real_end + 1] : '\0';
      const size_t first = real_end + 1 + (sign == '+' || sign == '-');
      const bool has_digit =
          first < source_.size() && source_[first] >= '0' && source_[first] <= '9';
      if (has_digit) real_end = digits_from(first, 10);
    }
    is_real = real_end > end;
    end = real_end;
  }
  std::string digits = source_.substr(from, end - from);
  std::erase(digits, '_');
  if (!is_real && base == 10 && digits.size() > 1 && digits[0] == '0' &&
      digits.find_first_not_of('0') != std::string::npos) {
    fail_at(line_, "expected a number without leading zeros");
  }
  emit(is_real ? Token::Type::real : Token::Type::integer);
  Token& token = tokens_.back();
  if (is_real) {
    token.real = std::strtod(digits.c_str(), nullptr);
  } else if (digits.empty() || !parse_integer(digits, base, token.integer)) {
    fail_at(line_, "expected an integer of at most 128 bits");
  }
  advance_to(end);
}

void Lexer::name() {
  size_t end = at_;
  for (size_t length = 0; end < source_.size() && is_word(utf8_at(source_, end, length));)
    end += length;
  emit(Token::Type::name, source_.substr(at_, end - at_));
  advance_to(end);
}

void Lexer::quoted() {
  const char quote = peek();
  size_t end = at_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) fail_at(line_, format("expected {} at the end of a string", quote));
  emit(Token::Type::string,
       unescape_literal(std::string_view(source_).substr(at_ + 1, end - at_ - 1), line_));
  advance_to(end + 1);
}

void Lexer::symbol() {
  constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", ">=", "<="};
  constexpr std::string_view kSingles = "+-/*%~[](){}<>=.:|,;";
  const auto* pair =
      std::find_if(kPairs.begin(), kPairs.end(), [&](std::string_view p) { return at_text(p); });
  const std::string text = pair != kPairs.end() ? std::string(*pair) : source_.substr(at_, 1);
  if (pair == kPairs.end() && kSingles.find(text) == std::string_view::npos) {
    size_t length = 0;
    utf8_at(source_, at_, length);
    fail_at(line_, format("unexpected character '{}'", source_.substr(at_, length)));
  }
  if (text == "(" || text == "[" || text == "{")
    open_.push_back(text == "(" ? ')' : text == "[" ? ']' : '}');
  if (text == ")" || text == "]" || text == "}") {
    if (open_.empty()) fail_at(line_, format("unexpected '{}'", text));
    if (open_.back() != text[0])
      fail_at(line_, format("expected '{}', got '{}'", open_.back(), text));
    open_.pop_back();
  }
  emit(Token::Type::symbol, text);
  advance_to(at_ + text.size());
}

std::vector<Token> Lexer::run() {
  while (at_ < source_.size()) {
    const Tag tag = next_tag();
    data(tag);
    if (tag.opener == '\0') break;
    if (tag.opener == '%' && raw(tag)) continue;
    advance_to(tag.inside);
    if (tag.opener == '#') {
      comment();
    } else {
      tag_tokens(tag.opener == '%');
    }
  }
  emit(Token::Type::end);
  return std::move(tokens_);
}

}  // namespace

std::string describe(const Token& token) {
  switch (token.type) {
    case Token::Type::data:
      return "text";
    case Token::Type::variable_begin:
      return "'{{'";
    case Token::Type::variable_end:
      return "'}}'";
    case Token::Type::block_begin:
      return "'{%'";
    case Token::Type::block_end:
      return "'%}'";
    case Token::Type::name:
    case Token::Type::symbol:
      return "'" + token.text + "'";
    case Token::Type::string:
      return "a string";
    case Token::Type::integer:
    case Token::Type::real:
      return "a number";
    case Token::Type::end:
      return "the end of the template";
  }
  return "";
}

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

void fail_at(int line, std::string_view message) {
  fail(ErrorCode::invalid_argument, "chat template, line {}: {}", line, message);
}

}  // namespace quern::jinja
