// SPDX-License-Identifier: Apache-2.0
// What a request says that its answer must be: response_format, structured_outputs and the older
// guided_* fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/field_reader.h"
#include "sampling/grammar/grammar.h"

namespace quern {

class Service;

struct Constraint {
  GrammarSpec spec;
  std::string field;  // where it stands in the request: what errors name

  bool operator==(const Constraint&) const = default;
};

// None if the request asks for none. Throws RequestError for a wrong type, two constraints at once,
// or a field of these families that is not served.
std::optional<Constraint> constraint_of(FieldReader& fields);

// One of several texts.
GrammarSpec choice_grammar(const std::vector<std::string>& choices);

// Compiled by the service's compiler; null for none. Slow: not on an io thread. Throws RequestError
// whose param is the field and the JSON pointer into it ("response_format.json_schema.schema/not").
std::shared_ptr<const Grammar> compiled(const std::optional<Constraint>& constraint,
                                        const Service& service);

}  // namespace quern
