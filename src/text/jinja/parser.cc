// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/parser.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/jinja/expression_parser.h"
#include "text/jinja/statements.h"

namespace quern::jinja {
namespace {

bool is_constant_name(std::string_view name) {
  constexpr std::array kConstants = {"true", "false", "none", "True", "False", "None"};
  return std::find(kConstants.begin(), kConstants.end(), name) != kConstants.end();
}

class TemplateParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;
  Program run();

 private:
  using EndTags = std::vector<std::string_view>;
  using StmtPtr = std::unique_ptr<Stmt>;

  Body body(const EndTags& ends);
  Body block_body(const EndTags& ends);
  Body closed_body(std::string_view end);
  StmtPtr statement();
  StmtPtr keyword_statement(const std::string& keyword);
  [[noreturn]] void fail_unsupported(const std::string& keyword) const;

  StmtPtr if_statement();
  StmtPtr for_statement();
  StmtPtr set_statement();
  StmtPtr with_statement();
  StmtPtr macro_statement();
  StmtPtr call_block();
  StmtPtr filter_block();
  StmtPtr print_statement();
  StmtPtr generation_block();
  StmtPtr loop_control(Flow flow);

  Target targets(std::string_view end_word, bool with_attribute);
  Target target(bool with_attribute);
  void parameters(MacroParts& parts);
  void macro_body(MacroParts& parts, std::string_view end);

  int loops_ = 0;      // around this place that break and continue can mean
  int all_loops_ = 0;  // the same, through macros too
  const EndTags* waiting_ = nullptr;
};

Program TemplateParser::run() {
  program_.body = body({});
  return std::move(program_);
}

// Statements and text up to one of the end tags, whose name is the next token afterwards.
Body TemplateParser::body(const EndTags& ends) {
  const Level level(*this);
  const EndTags* outer = std::exchange(waiting_, &ends);
  Body out;
  while (!peek().is(Token::Type::end)) {
    const int line = peek().line;
    StmtPtr next;
    if (peek().is(Token::Type::data)) {
      next = std::make_unique<TextStmt>(take().text);
    } else if (peek().is(Token::Type::variable_begin)) {
      take();
      next = std::make_unique<PrintStmt>(tuple({}));
      expect(Token::Type::variable_end, "'}}'");
    } else {
      expect(Token::Type::block_begin, "'{%'");
      if (peek().is(Token::Type::name) &&
          std::find(ends.begin(), ends.end(), peek().text) != ends.end())
        break;
      next = statement();
      expect(Token::Type::block_end, "'%}'");
    }
    next->line = line;
    out.push_back(std::move(next));
  }
  if (!ends.empty() && peek().is(Token::Type::end))
    fail_expected(format("{{% {} %}}", ends.back()));
  waiting_ = outer;
  return out;
}

Body TemplateParser::block_body(const EndTags& ends) {
  skip_symbol(":");
  expect(Token::Type::block_end, "'%}'");
  return body(ends);
}

Body TemplateParser::closed_body(std::string_view end) {
  Body out = block_body({end});
  take();
  return out;
}

void TemplateParser::fail_unsupported(const std::string& keyword) const {
  constexpr std::array kUnsupported = {
      "import", "from", "include", "extends", "block", "autoescape"};
  if (std::find(kUnsupported.begin(), kUnsupported.end(), keyword) != kUnsupported.end()) {
    fail(ErrorCode::unsupported,
         "chat template, line {}: {{% {} %}} is not supported",
         peek().line,
         keyword);
  }
  const std::string wanted =
      waiting_->empty() ? "a known tag" : format("{{% {} %}}", waiting_->back());
  fail_at(peek().line, format("expected {}, got the unknown tag '{}'", wanted, keyword));
}

TemplateParser::StmtPtr TemplateParser::statement() {
  const Token tag = expect(Token::Type::name, "the name of a tag");
  const std::string& keyword = tag.text;
  const bool was_conditional = is_conditional_;
  // Only what stands directly in an if counts as conditional; other tags begin anew.
  if (keyword != "if" && keyword != "set" && keyword != "print") is_conditional_ = false;
  StmtPtr out = keyword_statement(keyword);
  is_conditional_ = was_conditional;
  return out;
}

TemplateParser::StmtPtr TemplateParser::keyword_statement(const std::string& keyword) {
  if (keyword == "if") return if_statement();
  if (keyword == "for") return for_statement();
  if (keyword == "set") return set_statement();
  if (keyword == "with") return with_statement();
  if (keyword == "macro") return macro_statement();
  if (keyword == "call") return call_block();
  if (keyword == "filter") return filter_block();
  if (keyword == "print") return print_statement();
  if (keyword == "generation") return generation_block();
  if (keyword == "break") return loop_control(Flow::break_loop);
  if (keyword == "continue") return loop_control(Flow::continue_loop);
  fail_unsupported(keyword);
}

TemplateParser::StmtPtr TemplateParser::if_statement() {
  is_conditional_ = true;
  std::vector<IfStmt::Branch> branches;
  for (;;) {
    ExprPtr condition = tuple({.with_condition = false});
    Body then = block_body({"elif", "else", "endif"});
    branches.push_back({std::move(condition), std::move(then)});
    const std::string word = take().text;
    if (word == "elif") continue;
    if (word == "else") branches.push_back({nullptr, closed_body("endif")});
    return std::make_unique<IfStmt>(std::move(branches));
  }
}

TemplateParser::StmtPtr TemplateParser::for_statement() {
  ForStmt::Parts parts;
  ++all_loops_;
  parts.target = targets("in", false);
  expect_name("in");
  parts.iterable = tuple({.with_condition = false, .end_word = "recursive"});
  if (skip_name("if")) parts.condition = expression();
  parts.is_recursive = skip_name("recursive");
  parts.loop = intern("loop");
  ++loops_;
  parts.body = block_body({"else", "endfor"});
  --loops_;
  if (take().text == "else") parts.otherwise = closed_body("endfor");
  --all_loops_;
  return std::make_unique<ForStmt>(std::move(parts));
}

TemplateParser::StmtPtr TemplateParser::set_statement() {
  Target where = targets("", true);
  if (skip_symbol("=")) {
    ExprPtr value = tuple({});
    return std::make_unique<SetStmt>(std::move(where), std::move(value));
  }
  is_conditional_ = false;
  ExprPtr value = filters(make<Captured>(), false);
  Body text = closed_body("endset");
  return std::make_unique<SetBlockStmt>(std::move(where), std::move(value), std::move(text));
}

TemplateParser::StmtPtr TemplateParser::with_statement() {
  std::vector<Target> where;
  std::vector<ExprPtr> values;
  while (!peek().is(Token::Type::block_end)) {
    if (!where.empty()) expect_symbol(",");
    where.push_back(targets("", false));
    expect_symbol("=");
    values.push_back(expression());
  }
  Body inside = closed_body("endwith");
  return std::make_unique<WithStmt>(std::move(where), std::move(values), std::move(inside));
}

TemplateParser::StmtPtr TemplateParser::macro_statement() {
  MacroParts parts;
  parts.name = expect(Token::Type::name, "the name of the macro").text;
  if (is_constant_name(parts.name)) fail_expected("a name that can be assigned to");
  const NameId name = intern(parts.name);
  parameters(parts);
  macro_body(parts, "endmacro");
  return std::make_unique<MacroStmt>(name, std::move(parts));
}

void TemplateParser::parameters(MacroParts& parts) {
  expect_symbol("(");
  while (!peek().is_symbol(")")) {
    if (!parts.parameters.empty()) expect_symbol(",");
    const std::string name = expect(Token::Type::name, "the name of a parameter").text;
    if (is_constant_name(name)) fail_expected("a name that can be assigned to");
    ExprPtr otherwise;
    if (skip_symbol("=")) {
      otherwise = expression();
    } else if (!parts.parameters.empty() && parts.parameters.back().otherwise) {
      fail_expected(format("'=' after '{}': it follows a parameter with a default", name));
    }
    parts.parameters.push_back({intern(name), std::move(otherwise)});
  }
  expect_symbol(")");
}

void TemplateParser::macro_body(MacroParts& parts, std::string_view end) {
  const int outer_loops = std::exchange(loops_, 0);
  macros_.emplace_back();
  parts.body = closed_body(end);
  const MacroReads reads = macros_.back();
  macros_.pop_back();
  loops_ = outer_loops;
  parts.caller = intern("caller"), parts.varargs = intern("varargs"),
  parts.kwargs = intern("kwargs");
  const auto is_free = [&](NameId name) {
    return std::none_of(parts.parameters.begin(), parts.parameters.end(), [&](const auto& p) {
      return p.name == name;
    });
  };
  parts.takes_caller = reads.caller && is_free(parts.caller);
  parts.takes_varargs = reads.varargs && is_free(parts.varargs);
  parts.takes_kwargs = reads.kwargs && is_free(parts.kwargs);
}

TemplateParser::StmtPtr TemplateParser::call_block() {
  MacroParts parts;
  if (peek().is_symbol("(")) parameters(parts);
  ExprPtr call = expression();
  const auto* as_call = dynamic_cast<const CallExpr*>(call.get());
  if (!as_call) fail_expected("a call of a macro");
  call.release();
  std::unique_ptr<const CallExpr> owned(as_call);
  macro_body(parts, "endcall");
  return std::make_unique<CallBlockStmt>(std::move(owned), std::move(parts));
}

TemplateParser::StmtPtr TemplateParser::filter_block() {
  ExprPtr value = filters(make<Captured>(), true);
  Body inside = closed_body("endfilter");
  return std::make_unique<FilterBlockStmt>(std::move(value), std::move(inside));
}

TemplateParser::StmtPtr TemplateParser::print_statement() {
  std::vector<ExprPtr> parts;
  while (!peek().is(Token::Type::block_end)) {
    if (!parts.empty()) expect_symbol(",");
    parts.push_back(expression());
  }
  return std::make_unique<PrintStmt>(make<Concat>(std::move(parts)));
}

TemplateParser::StmtPtr TemplateParser::generation_block() {
  const int outer_loops = std::exchange(loops_, 0);
  Body inside = closed_body("endgeneration");
  loops_ = outer_loops;
  return std::make_unique<GenerationStmt>(std::move(inside));
}

TemplateParser::StmtPtr TemplateParser::loop_control(Flow flow) {
  if (loops_ == 0) fail_expected("break and continue inside a loop only");
  return std::make_unique<LoopControlStmt>(flow);
}

Target TemplateParser::target(bool with_attribute) {
  const Level level(*this);
  if (skip_symbol("(")) {
    Target inner = targets("", with_attribute);
    expect_symbol(")");
    return inner;
  }
  const std::string name = expect(Token::Type::name, "a name to assign to").text;
  if (is_constant_name(name)) fail_expected("a name that can be assigned to");
  if (with_attribute && skip_symbol(".")) {
    const std::string attribute = expect(Token::Type::name, "the name of an attribute").text;
    return {Target::Kind::attribute, read(name), attribute, {}};
  }
  if (name == "loop" && all_loops_ > 0)
    fail_expected("another name than 'loop' to assign to inside a loop");
  return {Target::Kind::name, intern(name), {}, {}};
}

Target TemplateParser::targets(std::string_view end_word, bool with_attribute) {
  Target tuple{Target::Kind::tuple, 0, {}, {}};
  for (;;) {
    tuple.parts.push_back(target(with_attribute));
    if (!skip_symbol(",")) break;
    const bool is_end = at_tuple_end(end_word) || peek().is_symbol("=");
    if (is_end) return tuple;
  }
  return tuple.parts.size() == 1 ? std::move(tuple.parts[0]) : std::move(tuple);
}

}  // namespace

Program parse_template(std::string_view source, int max_depth) {
  return TemplateParser(tokenize(source), max_depth).run();
}

}  // namespace quern::jinja
