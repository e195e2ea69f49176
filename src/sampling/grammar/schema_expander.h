// SPDX-License-Identifier: Apache-2.0
// SchemaExpander: goals → branches. What it gives is never more than what the schema allows; where
// a keyword cannot be followed, it throws.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>

#include <optional>
#include "sampling/grammar/schema_document.h"
#include "sampling/grammar/schema_shape.h"

namespace quern {

class SchemaExpander {
 public:
  explicit SchemaExpander(const SchemaDocument& document) : document_(document) {}

  Goal root() const;
  // The branches that some value satisfies, as far as is seen. Throws GrammarError naming pointer
  // and keyword.
  const Branches& expand(const Goal& goal);
  // False where it is not seen.
  bool is_empty(const Goal& goal);
  // What the value under a key must satisfy.
  Goal goal_of(const ObjectShape& object, const std::string& key);
  const Automaton& pattern(const std::string& source);

 private:
  void apply(Branches& branches, const Demand& demand);
  void apply_schema(Branches& branches, const SchemaPlace& at);
  void apply_keyword(Branches& branches, const SchemaPlace& at, const std::string& key);
  bool apply_scalar(Branches& branches, const SchemaPlace& at, const std::string& key);
  bool apply_array(Branches& branches, const SchemaPlace& at, const std::string& key);
  bool apply_object(Branches& branches, const SchemaPlace& at, const std::string& key);
  bool apply_combination(Branches& branches, const SchemaPlace& at, const std::string& key);
  void apply_one_of(Branches& branches, const SchemaPlace& at);
  void apply_condition(Branches& branches, const SchemaPlace& at);
  void apply_dependencies(Branches& branches, const SchemaPlace& at, const std::string& key);
  void apply_properties(Branches& branches, const SchemaPlace& at);
  void apply_items(Branches& branches, const SchemaPlace& at);
  void apply_contains(Branches& branches, const SchemaPlace& at);
  void apply_unevaluated(Branches& branches, const SchemaPlace& at);
  void apply_literal(Branches& branches, const Json& value);
  void apply_enum(Branches& branches, const std::vector<const Json*>& values);

  // One alternative for each keyword; those that cannot be expressed are left out, unless all are.
  void negate_schema(Branches& branches, const SchemaPlace& at);
  Branches negate_keyword(const Branches& in, const SchemaPlace& at, const std::string& key);
  std::optional<Branches> negate_scalar(const Branches& in,
                                        const SchemaPlace& at,
                                        const std::string& key);
  std::optional<Branches> negate_array(const Branches& in,
                                       const SchemaPlace& at,
                                       const std::string& key);
  std::optional<Branches> negate_object(const Branches& in,
                                        const SchemaPlace& at,
                                        const std::string& key);
  std::optional<Branches> negate_combination(const Branches& in,
                                             const SchemaPlace& at,
                                             const std::string& key);
  void negate_literal(Branches& branches, const Json& value);

  bool is_branch_empty(const Branch& branch);
  bool are_disjoint(const SchemaPlace& a, const SchemaPlace& b);
  Demand demand(const SchemaPlace& at, bool is_negated = false) const;

  struct Expanded {
    Branches branches;
    bool is_exact = true;
  };

  const SchemaDocument& document_;
  std::map<Goal, Expanded> expanded_;
  std::set<Goal> expanding_;
  std::set<std::pair<const Json*, bool>> applying_;  // schemas of the same value, outermost first
  std::map<std::string, Automaton> patterns_;
  bool is_exact_ = true;        // nothing was left out so far
  bool is_evaluating_ = false;  // what `if` looks at counts
  int silent_ = 0;              // within a negation: what is looked at does not count
};

// Throws GrammarError for a format that is not enforced.
Pattern format_pattern(const std::string& name, const std::string& pointer);
// All texts of the shape, unless it is nothing but lengths.
Automaton texts_of(const StringShape& shape, SchemaExpander& patterns);

}  // namespace quern
