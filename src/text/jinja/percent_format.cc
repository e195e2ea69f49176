// SPDX-License-Identifier: Apache-2.0
#include "text/jinja/percent_format.h"

#include <cmath>

#include "base/error.h"
#include "text/jinja/budget.h"
#include "text/jinja/number_format.h"
#include "text/jinja/operators.h"
#include "text/jinja/repr.h"

namespace quern::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(std::string_view pattern, const Value& values)
      : pattern_(pattern), values_(values) {}

  std::string run();

 private:
  char peek() const { return at_ < pattern_.size() ? pattern_[at_] : '\0'; }
  void conversion();
  void flags(FieldSpec& spec);
  Int number();
  const Value& next_value();
  void append(const Value& v, FieldSpec spec);

  std::string_view pattern_;
  const Value& values_;
  size_t at_ = 0;
  size_t used_ = 0;
  const Value* named_ = nullptr;  // what %(name) found
  std::string out_;
};

std::string PercentFormatter::run() {
  while (at_ < pattern_.size()) {
    const size_t percent = std::min(pattern_.find('%', at_), pattern_.size());
    out_ += pattern_.substr(at_, percent - at_);
    at_ = percent + 1;
    if (percent < pattern_.size()) conversion();
  }
  const size_t given = values_.is(Value::Kind::tuple) ? values_.items().size()
                       : values_.is_dict()            ? 0
                                                      : 1;
  const bool may_ignore =
      values_.is(Value::Kind::list) || (values_.is(Value::Kind::object) && used_ == 0);
  if (used_ < given && !may_ignore) {
    fail(ErrorCode::invalid_argument, "not all arguments converted during string formatting");
  }
  return std::move(out_);
}

void PercentFormatter::flags(FieldSpec& spec) {
  bool is_zero_padded = false;
  for (;; ++at_) {
    switch (peek()) {
      case '-':
        spec.align = '<';
        continue;
      case '+':
        spec.sign = '+';
        continue;
      case ' ':
        spec.sign = spec.sign == '+' ? '+' : ' ';
        continue;
      case '#':
        spec.is_alternate = true;
        continue;
      case '0':
        is_zero_padded = true;
        continue;
      default:
        break;
    }
    break;
  }
  if (is_zero_padded && spec.align != '<') spec.fill = '0', spec.align = '=';
  if (!spec.align) spec.align = '>';
}

Int PercentFormatter::number() {
  if (peek() == '*') {
    ++at_;
    return require_index(next_value(), "* in a format");
  }
  Int n = 0;
  for (; peek() >= '0' && peek() <= '9'; ++at_)
    n = std::min<Int>(n * 10 + (peek() - '0'), Int{1} << 40);
  return n;
}

const Value& PercentFormatter::next_value() {
  if (named_) return *named_;
  if (!values_.is(Value::Kind::tuple)) {
    if (used_++ == 0) return values_;
  } else if (used_ < values_.items().size()) {
    return values_.items()[used_++];
  }
  fail(ErrorCode::invalid_argument, "not enough arguments for format string");
}

void PercentFormatter::conversion() {
  FieldSpec spec;
  named_ = nullptr;
  if (peek() == '(') {
    const size_t close = pattern_.find(')', at_);
    if (close == std::string_view::npos) fail(ErrorCode::invalid_argument, "incomplete format key");
    if (!values_.is_dict()) fail(ErrorCode::invalid_argument, "format requires a mapping");
    const std::string_view name = pattern_.substr(at_ + 1, close - at_ - 1);
    named_ = values_.as_dict().find(name);
    if (!named_)
      fail(ErrorCode::invalid_argument, "the format names '{}', which is not given", name);
    at_ = close + 1;
  }
  flags(spec);
  spec.width = number();
  if (spec.width < 0) spec.width = -spec.width, spec.align = '<', spec.fill = ' ';
  if (peek() == '.') ++at_, spec.precision = std::max<Int>(number(), 0);
  while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
  spec.type = peek();
  if (at_++ >= pattern_.size()) fail(ErrorCode::invalid_argument, "incomplete format");
  if (spec.type == '%') {
    out_ += '%';
  } else {
    append(next_value(), spec);
  }
  Budget::charge_bytes(out_.size() / 64);
}

void PercentFormatter::append(const Value& v, FieldSpec spec) {
  switch (spec.type) {
    case 's':
    case 'r':
    case 'a':
      if (spec.align == '=') spec.align = '>', spec.fill = ' ';
      out_ += format_text_field(spec.type == 's' ? to_str(v) : to_repr(v), spec);
      return;
    case 'd':
    case 'i':
    case 'u': {
      require_defined(v);
      if (!v.is_number()) {
        fail(ErrorCode::invalid_argument,
             "%{} format: a real number is required, not {}",
             spec.type,
             v.type_name());
      }
      if (v.is(Value::Kind::real) && !(std::fabs(v.as_real()) < 1e38)) {
        fail(ErrorCode::invalid_argument,
             "cannot convert {} to an integer",
             format_real(v.as_real()));
      }
      spec.type = 'd';
      const Int whole = v.is_integral() ? v.as_integer() : static_cast<Int>(v.as_real());
      out_ += format_field(Value::integer(whole), spec);
      return;
    }
    case 'c':
      if (v.is_string()) spec.type = 's';
      [[fallthrough]];
    case 'x':
    case 'X':
    case 'o':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      require_defined(v);
      out_ += format_field(v, spec);
      return;
    default:
      fail(ErrorCode::invalid_argument, "unsupported format character '{}'", spec.type);
  }
}

}  // namespace

Value percent_format(const Value& pattern, const Value& values) {
  return Value::string(PercentFormatter(pattern.as_string(), values).run(), pattern.is_markup());
}

}  // namespace quern::jinja
