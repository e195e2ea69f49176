// SPDX-License-Identifier: Apache-2.0
// Cuts a template into text and the tokens of its tags, with jinja2's rules for white space:
// trim_blocks (a newline after a block goes), lstrip_blocks (blanks before a block go), and the
// signs - and + inside the tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace quern::jinja {

struct Token {
  enum class Type {
    data,
    variable_begin,
    variable_end,
    block_begin,
    block_end,
    name,
    string,
    integer,
    real,
    symbol,
    end
  };

  Type type = Type::end;
  int line = 1;
  std::string text;  // of data, names, symbols; a string without quotes and escapes
  Int integer = 0;
  double real = 0;

  bool is(Type t) const { return type == t; }
  bool is_symbol(std::string_view s) const { return type == Type::symbol && text == s; }
  bool is_name(std::string_view n) const { return type == Type::name && text == n; }
};

// How an error message calls the token.
std::string describe(const Token& token);

// Of valid UTF-8. The last token is `end`. Throws invalid_argument with the line.
std::vector<Token> tokenize(std::string_view source);

// Throws invalid_argument "chat template, line N: …".
[[noreturn]] void fail_at(int line, std::string_view message);

}  // namespace quern::jinja
