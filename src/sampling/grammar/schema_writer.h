// SPDX-License-Identifier: Apache-2.0
// SchemaWriter: the branches of goals as rules of a grammar. Properties come in the order of the
// schema, others anywhere among them.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "sampling/grammar/schema_expander.h"
#include "sampling/grammar/text_rules.h"

namespace quern {

// White space between the parts of a value: one space, or a line break or tab and up to 16 more.
// Bounded, since a model at a high temperature would else fill its answer with it. It is written
// out at each place: as a rule of its own it would end within tokens, and every token that begins
// with white space had to be tried at each step.
inline const std::string kSpace = R"((" " | [\n\r\t] [ \n\r\t]{0,16})? )";
inline const std::string kComma = kSpace + R"("," )" + kSpace;
inline const std::string kColon = " " + kSpace + R"(":" )" + kSpace;
inline const std::string kOpenObject = R"("{" )" + kSpace, kEndObject = kSpace + R"("}")";
inline const std::string kOpenArray = R"("[" )" + kSpace, kEndArray = " " + kSpace + R"("]")";

class SchemaWriter {
 public:
  explicit SchemaWriter(SchemaExpander& expander) : expander_(expander) {}

  // The grammar of all values that satisfy `root`. Throws GrammarError, also if there are none.
  std::string write(const Goal& root);

 private:
  std::string rule_of(const Goal& goal);
  // Expressions; empty where no value can be written.
  std::string of(const Branch& branch);
  std::string of_number(const NumberShape& number);
  std::string of_string(const StringShape& shape);
  std::string of_array(const ArrayShape& array);
  std::string of_counted_array(const ArrayShape& array, const ContainsShape& contains);
  std::string of_unique_array(const ArrayShape& array);
  std::string of_object(const ObjectShape& object);

  struct Keys;
  Keys keys_of(const ObjectShape& object);
  void add_free_keys(const ObjectShape& object, const std::vector<std::string>& order, Keys& keys);
  std::string object_rules(const Keys& keys);
  std::string unordered_object_rules(const Keys& keys);
  std::string counted_object_rules(const Keys& keys, const ObjectShape& object);
  std::string pair(const std::string& key, const Goal& goal);

  SchemaExpander& expander_;
  TextRules rules_;
  std::map<Goal, std::string> names_;
  std::deque<std::pair<std::string, Goal>> open_;
  std::vector<std::unique_ptr<Json>> literals_;  // names of properties as values
};

// Of a JSON schema, as xgrammar's EBNF.
std::string schema_grammar(std::string_view schema);

}  // namespace quern
