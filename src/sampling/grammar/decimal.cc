// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/decimal.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

constexpr size_t kMaxDigits = 40;
constexpr int64_t kMaxStep = 1000;  // of multipleOf, scaled to an integer

Automaton language(const std::string& pattern) {
  return Automaton::of(parse_pattern(pattern));
}

constexpr const char* kUnsigned = R"((?:0|[1-9]\d*)(?:\.\d+)?)";

// The unsigned numbers of at least |bound|, or of more.
Automaton at_least(const Decimal& bound, bool is_open) {
  const std::string &whole = bound.whole, &fraction = bound.fraction;
  const size_t n = whole.size();
  const std::string any_fraction = R"((?:\.\d+)?)";
  std::string out = format(R"([1-9]\d{{{},}}{})", n, any_fraction);
  const auto above = [](char digit) { return format("[{}-9]", static_cast<char>(digit + 1)); };
  for (size_t k = 0; k < n; ++k)
    if (whole[k] < '9')
      out += format(
          R"(|{}{}\d{{{}}}{})", whole.substr(0, k), above(whole[k]), n - k - 1, any_fraction);
  for (size_t k = 0; k < fraction.size(); ++k)
    if (fraction[k] < '9')
      out += format(R"(|{}\.{}{}\d*)", whole, fraction.substr(0, k), above(fraction[k]));
  const std::string more = is_open ? R"(\d*[1-9]\d*)" : R"(\d*)";
  if (!fraction.empty()) {
    out += format(R"(|{}\.{}{})", whole, fraction, more);
  } else if (is_open) {
    out += format(R"(|{}\.{})", whole, more);
  } else {
    out += format("|{}{}", whole, any_fraction);
  }
  return language(out);
}

Automaton at_most(const Decimal& bound, bool is_open) {
  return language(kUnsigned) - at_least(bound, !is_open);
}

Automaton negated(const Automaton& numbers) {
  std::vector<Automaton::State> states(1);
  states[0].edges.push_back({CodeSet::one('-'), 1});
  for (Automaton::State state : numbers.states()) {
    for (Automaton::Edge& edge : state.edges) ++edge.to;
    states.push_back(std::move(state));
  }
  return Automaton::of_states(std::move(states));
}

Automaton from_bound(const Decimal& low, bool is_open) {
  if (low.is_negative) return language(kUnsigned) | negated(at_most(low, is_open));
  return at_least(low, is_open);
}

Automaton up_to_bound(const Decimal& high, bool is_open) {
  if (high.is_negative) return negated(at_least(high, is_open));
  return negated(language(kUnsigned)) | at_most(high, is_open);
}

// Digits are read as one integer, `places` of them behind the point; the state is its remainder.
class MultipleBuilder {
 public:
  explicit MultipleBuilder(const Decimal& step) {
    const std::string digits = step.whole + step.fraction;
    places_ = static_cast<int>(step.fraction.size());
    if (digits.size() > 12) fail_step(step);
    modulus_ = std::stoll(digits);
    if (modulus_ < 1 || modulus_ > kMaxStep || modulus_ * (places_ + 3) > 4000) fail_step(step);
  }

  Automaton build() {
    const int start = add(false), sign = add(false);
    const int64_t m = modulus_;
    for (int64_t r = 0; r < m; ++r) whole_.push_back(add(is_multiple(r, 0)));
    for (int place = 0; place <= places_; ++place)
      for (int64_t r = 0; r < m; ++r) behind_.push_back(add(place > 0 && is_multiple(r, place)));
    const int zeros = add(true);
    edge(start, '-', sign);
    for (int digit = 0; digit < 10; ++digit) {
      edge(start, '0' + digit, whole_[static_cast<size_t>(digit % m)]);
      edge(sign, '0' + digit, whole_[static_cast<size_t>(digit % m)]);
    }
    for (int64_t r = 0; r < m; ++r) {
      const int from = whole_[static_cast<size_t>(r)];
      for (int digit = 0; digit < 10; ++digit)
        edge(from, '0' + digit, whole_[static_cast<size_t>((r * 10 + digit) % m)]);
      edge(from, '.', behind(0, r));
      for (int place = 0; place < places_; ++place)
        for (int digit = 0; digit < 10; ++digit)
          edge(behind(place, r), '0' + digit, behind(place + 1, (r * 10 + digit) % m));
      if (r == 0) edge(behind(places_, r), '0', zeros);
    }
    edge(zeros, '0', zeros);
    return Automaton::of_states(std::move(states_));
  }

 private:
  [[noreturn]] static void fail_step(const Decimal& step) {
    fail_grammar("",
                 "multipleOf {}: steps of up to {} (without their point) can be enforced",
                 step.text(),
                 kMaxStep);
  }
  int add(bool is_accepting) {
    states_.push_back({{}, is_accepting});
    return static_cast<int>(states_.size()) - 1;
  }
  void edge(int from, int code, int to) {
    auto& edges = states_[static_cast<size_t>(from)].edges;
    const CodeSet chars = CodeSet::one(static_cast<uint32_t>(code));
    for (Automaton::Edge& e : edges)
      if (e.to == to) {
        e.chars = e.chars | chars;
        return;
      }
    edges.push_back({chars, to});
  }
  int behind(int place, int64_t remainder) const {
    return behind_[static_cast<size_t>(place * modulus_ + remainder)];
  }
  bool is_multiple(int64_t remainder, int place) const {
    for (; place < places_; ++place) remainder = remainder * 10 % modulus_;
    return remainder == 0;
  }

  int places_ = 0;
  int64_t modulus_ = 1;
  std::vector<Automaton::State> states_;
  std::vector<int> whole_, behind_;
};

Automaton texts_equal_to(const Decimal& value) {
  NumberShape point;
  point.raise_lower(value, false);
  point.reduce_upper(value, false);
  return point.texts();
}

}  // namespace

Decimal Decimal::from(const Json& number, const std::string& pointer) {
  if (number.is_number_float() && std::fabs(number.get<double>()) >= 0x1p53)
    fail_grammar(pointer, "{} is too large to be enforced exactly", number.dump());
  std::string text = number.dump();
  int exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != std::string::npos) {
    exponent = std::stoi(text.substr(e + 1));
    text.resize(e);
  }
  Decimal out;
  if (text.front() == '-') {
    out.is_negative = true;
    text.erase(0, 1);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits = text.substr(0, point) + (point < text.size() ? text.substr(point + 1) : "");
  int whole_digits = static_cast<int>(point) + exponent;
  if (whole_digits <= 0) {
    digits.insert(0, static_cast<size_t>(1 - whole_digits), '0');
    whole_digits = 1;
  }
  while (static_cast<int>(digits.size()) < whole_digits) digits += '0';
  out.whole = digits.substr(0, static_cast<size_t>(whole_digits));
  out.fraction = digits.substr(static_cast<size_t>(whole_digits));
  out.whole.erase(0, std::min(out.whole.find_first_not_of('0'), out.whole.size() - 1));
  while (!out.fraction.empty() && out.fraction.back() == '0') out.fraction.pop_back();
  if (out.whole == "0" && out.fraction.empty()) out.is_negative = false;
  if (out.whole.size() + out.fraction.size() > kMaxDigits)
    fail_grammar(pointer, "{} has more than {} digits", number.dump(), kMaxDigits);
  return out;
}

std::string Decimal::text() const {
  return (is_negative ? "-" : "") + whole + (fraction.empty() ? "" : "." + fraction);
}

std::strong_ordering Decimal::operator<=>(const Decimal& other) const {
  if (is_negative != other.is_negative)
    return is_negative ? std::strong_ordering::less : std::strong_ordering::greater;
  auto order = whole.size() <=> other.whole.size();
  if (order == 0) order = whole.compare(other.whole) <=> 0;
  if (order == 0) order = fraction.compare(other.fraction) <=> 0;
  return is_negative ? 0 <=> order : order;
}

void NumberShape::raise_lower(const Decimal& bound, bool is_open) {
  if (lower && *lower > bound) return;
  is_lower_open = (lower && *lower == bound && is_lower_open) || is_open;
  lower = bound;
}

void NumberShape::reduce_upper(const Decimal& bound, bool is_open) {
  if (upper && *upper < bound) return;
  is_upper_open = (upper && *upper == bound && is_upper_open) || is_open;
  upper = bound;
}

void NumberShape::allow_only(const std::set<Decimal>& other) {
  if (!allowed) {
    allowed = other;
    return;
  }
  std::erase_if(*allowed, [&](const Decimal& d) { return !other.contains(d); });
}

bool NumberShape::is_plain() const {
  return !lower && !upper && multiples.empty() && not_multiples.empty() && excluded.empty() &&
         !allowed && kind != Kind::fraction;
}

Automaton NumberShape::texts() const {
  Automaton out = language(kind == Kind::integer    ? R"(-?(?:0|[1-9]\d*))"
                           : kind == Kind::fraction ? R"(-?(?:0|[1-9]\d*)\.\d*[1-9]\d*)"
                                                    : R"(-?(?:0|[1-9]\d*)(?:\.\d+)?)");
  if (lower) out = out & from_bound(*lower, is_lower_open);
  if (upper) out = out & up_to_bound(*upper, is_upper_open);
  for (const Decimal& step : multiples) out = out & MultipleBuilder(step).build();
  for (const Decimal& step : not_multiples) out = out - MultipleBuilder(step).build();
  for (const Decimal& value : excluded) out = out - texts_equal_to(value);
  return out;
}

std::set<Decimal> NumberShape::values() const {
  NumberShape rest = *this;
  rest.allowed.reset();
  std::set<Decimal> out;
  if (!allowed) return out;
  if (rest.is_plain() && kind == Kind::any) return *allowed;
  const Automaton texts = rest.texts();
  for (const Decimal& value : *allowed)
    if (texts.accepts(value.text())) out.insert(value);
  return out;
}

}  // namespace quern
