// SPDX-License-Identifier: Apache-2.0
// SchemaDocument: a JSON schema as it came, with its identifiers and references.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern {

// A place in the document. `schema` is owned by the document.
struct SchemaPlace {
  const Json* schema = nullptr;
  std::string pointer;  // JSON pointer from the document's root
  std::string base;     // the identifier that relative references are joined to
};

class SchemaDocument {
 public:
  // Throws GrammarError for a text that is no schema, or one beyond the limits.
  explicit SchemaDocument(std::string_view text);
  SchemaDocument(const SchemaDocument&) = delete;

  SchemaPlace root() const;
  // Throws GrammarError for a reference that leaves the document or hits nothing.
  SchemaPlace resolve(const std::string& reference, const SchemaPlace& from) const;
  // The schema at a key (and index) of `parent`; throws GrammarError unless an object or a boolean.
  SchemaPlace child(const SchemaPlace& parent, std::string_view key) const;
  SchemaPlace child(const SchemaPlace& parent, std::string_view key, std::string_view inner) const;
  // Of drafts up to 7: what stands beside $ref does not count.
  bool ref_stands_alone() const { return ref_stands_alone_; }

 private:
  void index(const Json& value, const std::string& pointer, std::string base, int depth);
  SchemaPlace at(const Json& value, std::string pointer, const std::string& base) const;

  std::unique_ptr<const Json> json_;
  bool ref_stands_alone_ = false;
  size_t nodes_ = 0;
  std::map<std::string, SchemaPlace>
      resources_;  // by identifier, with "#anchor" where there is one
};

std::string escaped_pointer(std::string_view token);

}  // namespace quern
