// SPDX-License-Identifier: Apache-2.0
// The part of the parser that reads expressions. Precedence, loosest first: if-else, or, and, not,
// comparisons, + -, ~,
// * / // %, **, unary signs, subscripts and calls; filters and tests bind tighter than all binary
// operators.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/format.h"
#include "text/jinja/ast.h"
#include "text/jinja/expressions.h"
#include "text/jinja/lexer.h"

namespace quern::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, int max_depth)
      : tokens_(std::move(tokens)), max_depth_(max_depth) {}

 protected:
  // One level of nested parsing, for as long as it lives.
  class Level {
   public:
    explicit Level(ExpressionParser& parser);
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };

  struct TupleRules {
    bool with_condition = true;      // "a if b" may stand in it
    std::string_view end_word = {};  // a name that ends it
    bool is_in_parentheses = false;  // then it may be empty
  };

  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_.back(); }
  bool skip_symbol(std::string_view text);
  bool skip_name(std::string_view text);
  Token expect(Token::Type type, std::string_view what);
  void expect_symbol(std::string_view text);
  void expect_name(std::string_view text);
  [[noreturn]] void fail_expected(std::string_view what) const;

  ExprPtr expression(bool with_condition = true);
  ExprPtr tuple(const TupleRules& rules);
  ExprPtr filters(ExprPtr subject, bool starts_inside);
  bool at_tuple_end(std::string_view end_word) const;

  NameId intern(std::string_view name);
  // Notes that an expression reads the name, for the macros around.
  NameId read(std::string_view name);

  // Makes a node and notes how deep it is.
  template <typename Node, typename... Args>
  std::unique_ptr<const Node> make(Args&&... args) {
    int depth = 0;
    ((depth = std::max(depth, depth_of(args))), ...);
    if (depth >= max_depth_)
      fail_at(peek().line, format("expected expressions nested at most {} levels", max_depth_));
    auto node = std::make_unique<Node>(std::forward<Args>(args)...);
    node->depth = depth + 1;
    return node;
  }

  // Which of the special names of a macro its body reads.
  struct MacroReads {
    bool caller = false, varargs = false, kwargs = false;
  };

  Program program_;
  // In an if statement or an if expression an unknown filter or test fails only when it is reached.
  bool is_conditional_ = false;
  std::vector<MacroReads> macros_;

 private:
  static int depth_of(const ExprPtr& node) { return node ? node->depth : 0; }
  static int depth_of(const std::vector<ExprPtr>& nodes);
  static int depth_of(const CallArgs& arguments);
  template <typename T>
  static int depth_of(const T&) {
    return 0;
  }

  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr exponentiation();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr name_or_constant();
  ExprPtr string_literal();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr node);
  ExprPtr filters_and_tests(ExprPtr node);
  ExprPtr subscript(ExprPtr node);
  ExprPtr bracketed(ExprPtr object);
  ExprPtr slice(ExprPtr object, ExprPtr start);
  ExprPtr test(ExprPtr subject);
  CallArgs call_arguments();
  void call_argument(CallArgs& out);
  std::string dotted_name();
  Compare::Operator comparison_operator();

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int max_depth_;
  int level_ = 0;
  int expressions_ = 0;                               // that are being read
  std::vector<std::pair<int, std::string>> unknown_;  // filters and tests, with their lines
  std::map<std::string, NameId, std::less<>> ids_;
};

}  // namespace quern::jinja
