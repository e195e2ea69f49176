// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/expression_parser.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/tests.h"

namespace quern::jinja {
namespace {

Value logical_not(const Value& v) {
  return Value::boolean(!is_true(v));
}

bool starts_test_argument(const Token& token) {
  switch (token.type) {
    case Token::Type::name:
      return token.text != "else" && token.text != "or" && token.text != "and";
    case Token::Type::string:
    case Token::Type::integer:
    case Token::Type::real:
      return true;
    default:
      return token.is_symbol("[") || token.is_symbol("{");
  }
}

}  // namespace

ExpressionParser::Level::Level(ExpressionParser& parser) : parser_(parser) {
  if (++parser.level_ > parser.max_depth_) {
    --parser.level_;
    fail_at(parser.peek().line,
            format("expected blocks and expressions nested at most {} levels", parser.max_depth_));
  }
}

int ExpressionParser::depth_of(const std::vector<ExprPtr>& nodes) {
  int depth = 0;
  for (const ExprPtr& node : nodes) depth = std::max(depth, depth_of(node));
  return depth;
}

int ExpressionParser::depth_of(const CallArgs& arguments) {
  int depth = std::max({depth_of(arguments.positional),
                        depth_of(arguments.all_positional),
                        depth_of(arguments.all_named)});
  for (const auto& [name, value] : arguments.named) depth = std::max(depth, depth_of(value));
  return depth;
}

bool ExpressionParser::skip_symbol(std::string_view text) {
  return peek().is_symbol(text) && (take(), true);
}

bool ExpressionParser::skip_name(std::string_view text) {
  return peek().is_name(text) && (take(), true);
}

void ExpressionParser::fail_expected(std::string_view what) const {
  fail_at(peek().line, format("expected {}, got {}", what, describe(peek())));
}

Token ExpressionParser::expect(Token::Type type, std::string_view what) {
  if (!peek().is(type)) fail_expected(what);
  return take();
}

void ExpressionParser::expect_symbol(std::string_view text) {
  if (!skip_symbol(text)) fail_expected(format("'{}'", text));
}

void ExpressionParser::expect_name(std::string_view text) {
  if (!skip_name(text)) fail_expected(format("'{}'", text));
}

NameId ExpressionParser::intern(std::string_view name) {
  const auto found = ids_.find(name);
  if (found != ids_.end()) return found->second;
  const NameId id = static_cast<NameId>(program_.names.size());
  program_.names.emplace_back(name);
  return ids_.emplace(std::string(name), id).first->second;
}

NameId ExpressionParser::read(std::string_view name) {
  program_.reads.emplace(name);
  for (MacroReads& macro : macros_) {
    macro.caller |= name == "caller";
    macro.varargs |= name == "varargs";
    macro.kwargs |= name == "kwargs";
  }
  return intern(name);
}

ExprPtr ExpressionParser::expression(bool with_condition) {
  const Level level(*this);
  const bool was_conditional = is_conditional_;
  const size_t unknown_before = unknown_.size();
  ++expressions_;
  ExprPtr node = disjunction();
  // That this is an if expression shows only after its first part.
  if (with_condition && peek().is_name("if"))
    unknown_.resize(unknown_before), is_conditional_ = true;
  while (with_condition && skip_name("if")) {
    ExprPtr condition = disjunction();
    ExprPtr otherwise = skip_name("else") ? expression() : nullptr;
    node = make<Conditional>(std::move(condition), std::move(node), std::move(otherwise));
  }
  is_conditional_ = was_conditional;
  if (--expressions_ == 0 && !unknown_.empty()) {
    fail_at(unknown_[0].first,
            format("expected a known filter or test, got '{}'", unknown_[0].second));
  }
  return node;
}

ExprPtr ExpressionParser::disjunction() {
  ExprPtr node = conjunction();
  while (skip_name("or")) node = make<Logical>(false, std::move(node), conjunction());
  return node;
}

ExprPtr ExpressionParser::conjunction() {
  ExprPtr node = negation();
  while (skip_name("and")) node = make<Logical>(true, std::move(node), negation());
  return node;
}

ExprPtr ExpressionParser::negation() {
  if (!skip_name("not")) return comparison();
  const Level level(*this);
  return make<Unary>(logical_not, negation());
}

Compare::Operator ExpressionParser::comparison_operator() {
  if (skip_symbol("==")) return equals;
  if (skip_symbol("!=")) return [](const Value& a, const Value& b) { return !equals(a, b); };
  if (skip_symbol("<=")) return is_less_or_equal;
  if (skip_symbol(">="))
    return [](const Value& a, const Value& b) { return is_less_or_equal(b, a); };
  if (skip_symbol("<")) return [](const Value& a, const Value& b) { return is_less(a, b); };
  if (skip_symbol(">")) return [](const Value& a, const Value& b) { return is_less(b, a); };
  if (skip_name("in")) return [](const Value& a, const Value& b) { return contains(b, a); };
  if (peek().is_name("not") && peek(1).is_name("in")) {
    at_ += 2;
    return [](const Value& a, const Value& b) { return !contains(b, a); };
  }
  return nullptr;
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr first = sum();
  std::vector<Compare::Operator> operators;
  std::vector<ExprPtr> others;
  while (const Compare::Operator op = comparison_operator()) {
    operators.push_back(op);
    others.push_back(sum());
  }
  return operators.empty()
             ? std::move(first)
             : make<Compare>(std::move(first), std::move(operators), std::move(others));
}

ExprPtr ExpressionParser::sum() {
  ExprPtr node = concatenation();
  for (;;) {
    if (skip_symbol("+")) {
      node = make<Binary>(add, std::move(node), concatenation());
    } else if (skip_symbol("-")) {
      node = make<Binary>(subtract, std::move(node), concatenation());
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::concatenation() {
  std::vector<ExprPtr> parts;
  parts.push_back(product());
  while (skip_symbol("~")) parts.push_back(product());
  return parts.size() == 1 ? std::move(parts[0]) : make<Concat>(std::move(parts));
}

ExprPtr ExpressionParser::product() {
  ExprPtr node = exponentiation();
  for (;;) {
    const Binary::Operator op = peek().is_symbol("*")    ? multiply
                                : peek().is_symbol("/")  ? divide
                                : peek().is_symbol("//") ? floor_divide
                                : peek().is_symbol("%")  ? modulo
                                                         : nullptr;
    if (!op) return node;
    take();
    node = make<Binary>(op, std::move(node), exponentiation());
  }
}

ExprPtr ExpressionParser::exponentiation() {
  ExprPtr node = unary();
  while (skip_symbol("**")) node = make<Binary>(power, std::move(node), unary());
  return node;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const Level level(*this);
  ExprPtr node;
  if (skip_symbol("-")) {
    node = make<Unary>(negate, unary(false));
  } else if (skip_symbol("+")) {
    node = make<Unary>(unary_plus, unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::primary() {
  switch (peek().type) {
    case Token::Type::name:
      return name_or_constant();
    case Token::Type::string:
      return string_literal();
    case Token::Type::integer:
      return make<Literal>(Value::integer(take().integer));
    case Token::Type::real:
      return make<Literal>(Value::real(take().real));
    default:
      break;
  }
  if (peek().is_symbol("[")) return list();
  if (peek().is_symbol("{")) return dict();
  if (!skip_symbol("(")) fail_expected("an expression");
  ExprPtr node = tuple({.is_in_parentheses = true});
  expect_symbol(")");
  return node;
}

ExprPtr ExpressionParser::name_or_constant() {
  const std::string name = take().text;
  if (name == "true" || name == "True") return make<Literal>(Value::boolean(true));
  if (name == "false" || name == "False") return make<Literal>(Value::boolean(false));
  if (name == "none" || name == "None") return make<Literal>(Value::none());
  return make<Name>(read(name));
}

ExprPtr ExpressionParser::string_literal() {
  std::string text;
  while (peek().is(Token::Type::string)) text += take().text;
  return make<Literal>(Value::string(std::move(text)));
}

ExprPtr ExpressionParser::list() {
  expect_symbol("[");
  std::vector<ExprPtr> items;
  while (!peek().is_symbol("]")) {
    if (!items.empty()) expect_symbol(",");
    if (peek().is_symbol("]")) break;
    items.push_back(expression());
  }
  expect_symbol("]");
  return make<ItemsExpr>(true, std::move(items));
}

ExprPtr ExpressionParser::dict() {
  expect_symbol("{");
  std::vector<ExprPtr> keys, values;
  while (!peek().is_symbol("}")) {
    if (!keys.empty()) expect_symbol(",");
    if (peek().is_symbol("}")) break;
    keys.push_back(expression());
    expect_symbol(":");
    values.push_back(expression());
  }
  expect_symbol("}");
  return make<DictExpr>(std::move(keys), std::move(values));
}

bool ExpressionParser::at_tuple_end(std::string_view end_word) const {
  const Token& token = peek();
  return token.is(Token::Type::variable_end) || token.is(Token::Type::block_end) ||
         token.is_symbol(")") || (!end_word.empty() && token.is_name(end_word));
}

ExprPtr ExpressionParser::tuple(const TupleRules& rules) {
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  for (;;) {
    if (!items.empty()) expect_symbol(",");
    if (at_tuple_end(rules.end_word)) break;
    items.push_back(expression(rules.with_condition));
    if (!peek().is_symbol(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && items.size() == 1) return std::move(items[0]);
  if (!is_tuple && !rules.is_in_parentheses) fail_expected("an expression");
  return make<ItemsExpr>(false, std::move(items));
}

ExprPtr ExpressionParser::postfix(ExprPtr node) {
  for (;;) {
    if (peek().is_symbol(".") || peek().is_symbol("[")) {
      node = subscript(std::move(node));
    } else if (peek().is_symbol("(")) {
      node = make<CallExpr>(std::move(node), call_arguments());
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr node) {
  for (;;) {
    if (peek().is_symbol("|")) {
      node = filters(std::move(node), false);
    } else if (skip_name("is")) {
      node = test(std::move(node));
    } else if (peek().is_symbol("(")) {
      node = make<CallExpr>(std::move(node), call_arguments());
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr node) {
  if (!skip_symbol(".")) return bracketed(std::move(node));
  if (peek().is(Token::Type::name)) return make<AttributeExpr>(std::move(node), take().text);
  const Token token = expect(Token::Type::integer, "a name or a number after '.'");
  return make<ItemExpr>(std::move(node), ExprPtr(make<Literal>(Value::integer(token.integer))));
}

ExprPtr ExpressionParser::bracketed(ExprPtr object) {
  expect_symbol("[");
  if (peek().is_symbol(":")) return slice(std::move(object), nullptr);
  std::vector<ExprPtr> keys;
  bool is_tuple = peek().is_symbol("]");
  while (!peek().is_symbol("]")) {
    if (!keys.empty()) expect_symbol(","), is_tuple = true;
    if (peek().is_symbol("]")) fail_expected("an expression");
    keys.push_back(expression());
    if (!is_tuple && peek().is_symbol(":")) return slice(std::move(object), std::move(keys[0]));
  }
  expect_symbol("]");
  ExprPtr key = is_tuple ? ExprPtr(make<ItemsExpr>(false, std::move(keys))) : std::move(keys[0]);
  return make<ItemExpr>(std::move(object), std::move(key));
}

ExprPtr ExpressionParser::slice(ExprPtr object, ExprPtr start) {
  expect_symbol(":");
  ExprPtr stop, step;
  if (!peek().is_symbol(":") && !peek().is_symbol("]")) stop = expression();
  if (skip_symbol(":") && !peek().is_symbol("]")) step = expression();
  expect_symbol("]");
  return make<SliceExpr>(std::move(object), std::move(start), std::move(stop), std::move(step));
}

void ExpressionParser::call_argument(CallArgs& out) {
  const auto ensure = [&](bool holds) {
    if (!holds) fail_expected("arguments in the order: values, names, *list, **dict");
  };
  if (skip_symbol("*")) {
    ensure(!out.all_positional && !out.all_named);
    out.all_positional = expression();
  } else if (skip_symbol("**")) {
    ensure(!out.all_named);
    out.all_named = expression();
  } else if (peek().is(Token::Type::name) && peek(1).is_symbol("=")) {
    ensure(!out.all_named);
    std::string name = take().text;
    take();
    for (const auto& [other, _] : out.named) {
      if (other == name)
        fail_at(peek().line, format("expected each named argument once, got '{}' twice", name));
    }
    out.named.emplace_back(std::move(name), expression());
  } else {
    ensure(!out.all_positional && !out.all_named && out.named.empty());
    out.positional.push_back(expression());
  }
}

CallArgs ExpressionParser::call_arguments() {
  CallArgs out;
  expect_symbol("(");
  for (bool is_first = true; !peek().is_symbol(")"); is_first = false) {
    if (!is_first) expect_symbol(",");
    if (peek().is_symbol(")")) break;
    call_argument(out);
  }
  expect_symbol(")");
  return out;
}

std::string ExpressionParser::dotted_name() {
  std::string name = expect(Token::Type::name, "the name of a filter or test").text;
  while (skip_symbol(".")) {
    name += '.';
    name += expect(Token::Type::name, "a name after '.'").text;
  }
  return name;
}

ExprPtr ExpressionParser::filters(ExprPtr subject, bool starts_inside) {
  while (starts_inside || skip_symbol("|")) {
    starts_inside = false;
    const int line = peek().line;
    std::string name = dotted_name();
    const Filter filter = find_filter(name);
    if (!filter && is_unsupported_filter(name)) {
      fail(ErrorCode::unsupported,
           "chat template, line {}: the filter '{}' is not supported",
           line,
           name);
    }
    if (!filter && !is_conditional_) unknown_.emplace_back(line, name);
    CallArgs arguments;
    if (peek().is_symbol("(")) arguments = call_arguments();
    subject = make<FilterExpr>(std::move(subject), std::move(name), filter, std::move(arguments));
  }
  return subject;
}

ExprPtr ExpressionParser::test(ExprPtr subject) {
  const bool is_negated = skip_name("not");
  const int line = peek().line;
  std::string name = dotted_name();
  const Test found = find_test(name);
  if (!found && !is_conditional_) unknown_.emplace_back(line, name);
  CallArgs arguments;
  if (peek().is_symbol("(")) {
    arguments = call_arguments();
  } else if (starts_test_argument(peek())) {
    if (peek().is_name("is")) fail_expected("no second 'is'");
    arguments.positional.push_back(postfix(primary()));
  }
  ExprPtr node = make<TestExpr>(std::move(subject), std::move(name), found, std::move(arguments));
  return is_negated ? ExprPtr(make<Unary>(logical_not, std::move(node))) : std::move(node);
}

}  // namespace quern::jinja
