// SPDX-License-Identifier: Apache-2.0
// TranslatedChat: a request of another dialect as the body of a chat request, so that there is one
// place where conversations, tools and sampling fields are read.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/field_origins.h"
#include "api/field_reader.h"
#include "base/json.h"

namespace quern {

class TranslatedChat {
 public:
  TranslatedChat();

  // Sets a field of the chat request that `original` asked for.
  void set(const std::string& name, Json value, std::string original = {});
  // Copies every field of `body` that is not among `own`: sampling fields have one name everywhere.
  void pass_on(const Json& body, std::span<const std::string_view> own);
  // Appends a message that came from `original`; `parts` are the places of its content parts, where
  // they are listed.
  void add_message(Json message, const std::string& original, std::vector<std::string> parts = {});
  // Several in a row at the front become one message: templates know no more.
  void add_system(const std::string& text, const std::string& original);

  const Json& body() const { return *body_; }
  const FieldOrigins& origins() const { return origins_; }

 private:
  std::shared_ptr<Json> body_;
  FieldOrigins origins_;
};

// A field that must be there and be a string.
std::string required_string(FieldReader& fields, std::string_view name);
// Throws unsupported, naming the place and what is served there.
[[noreturn]] void fail_type(const std::string& path,
                            std::string_view type,
                            std::string_view served);
// Whether `text` is JSON of an object; `value` then holds it.
bool reads_as_object(const std::string& text, Json& value);
// Rejects fields of `fields` that look misspelt, among those that the chat request did not know
// either (`unknown`). `own` are the dialect's names.
void reject_misspelt(const Json& body,
                     std::span<const std::string_view> own,
                     const std::vector<std::string>& unknown);

}  // namespace quern
