// SPDX-License-Identifier: Apache-2.0
// Decimal: a number of a JSON schema as its digits, and the numbers within bounds as an automaton
// over their texts.
#pragma once

#include <compare>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "sampling/grammar/automaton.h"

namespace quern {

// Exact; of at most 40 digits. Canonical: no leading zeros in `whole` (but "0"), no trailing ones
// in `fraction`, zero is not negative.
struct Decimal {
  bool is_negative = false;
  std::string whole = "0", fraction;

  // Throws GrammarError{pointer} for a number that is too long, or that was not kept exactly.
  static Decimal from(const Json& number, const std::string& pointer);

  bool is_integer() const { return fraction.empty(); }
  std::string text() const;
  std::strong_ordering operator<=>(const Decimal& other) const;
  bool operator==(const Decimal& other) const = default;
};

struct NumberShape {
  enum class Kind { any, integer, fraction };  // fraction: any but integers
  Kind kind = Kind::any;
  std::optional<Decimal> lower, upper;
  bool is_lower_open = false, is_upper_open = false;  // the bound itself is not allowed
  std::vector<Decimal> multiples, not_multiples;      // of these
  std::set<Decimal> excluded;
  std::optional<std::set<Decimal>> allowed;

  bool operator==(const NumberShape&) const = default;
  void raise_lower(const Decimal& bound, bool is_open);
  void reduce_upper(const Decimal& bound, bool is_open);
  void allow_only(const std::set<Decimal>& values);
  bool is_plain() const;  // nothing but `kind`

  // Without exponents. Integers are written without a fraction.
  Automaton texts() const;
  // The allowed values that the rest of the shape lets pass.
  std::set<Decimal> values() const;
};

}  // namespace quern
