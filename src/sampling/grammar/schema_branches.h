// SPDX-License-Identifier: Apache-2.0
// Work on lists of branches that SchemaExpander's files share.
#pragma once

#include <string>

#include "sampling/grammar/schema_document.h"
#include "sampling/grammar/schema_shape.h"

namespace quern {

// Throws GrammarError{pointer} where there are too many.
void append(Branches& out, Branches more, const std::string& pointer);
void remove_duplicates(Branches& branches);
// Removes what plainly no value satisfies; throws where too many are left.
void prune(Branches& branches, const std::string& pointer);
// Each of `a` with each of `b`.
Branches merged(const Branches& a, const Branches& b, const std::string& pointer);

template <typename Change>
void for_each_of(Branches& branches, ValueType type, Change change) {
  for (Branch& b : branches)
    if (b.type == type) change(b);
}
template <typename Change>
Branches only(const Branches& branches, ValueType type, Change change) {
  Branches out;
  for (const Branch& b : branches)
    if (b.type == type) change(out.emplace_back(b));
  return out;
}

// What was looked at does not count for unevaluatedItems and unevaluatedProperties around.
void forget_evaluated(Branches& branches);

void require(ObjectShape& object, const std::string& key);
void forbid(ObjectShape& object, const std::string& key);
// Adds what one more schema says of the items.
void add_items(ArrayShape& array, const std::vector<Goal>& prefix, const Goal& rest);
void allow_only(StringShape& shape, const std::set<std::string>& texts);
const Goal& impossible();

// Typed keywords; they throw GrammarError naming pointer and keyword.
const Json& list_of(const SchemaPlace& at, const std::string& key);
const Json& object_of(const SchemaPlace& at, const std::string& key);
int64_t count_of(const SchemaPlace& at, const std::string& key);
std::vector<std::string> names_of(const Json& value, const std::string& pointer);

}  // namespace quern
