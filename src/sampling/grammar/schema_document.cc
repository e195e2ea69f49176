// SPDX-License-Identifier: Apache-2.0
#include "sampling/grammar/schema_document.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxNodes = 20000;

bool has_scheme(std::string_view uri) {
  const size_t colon = uri.find(':');
  return colon != std::string_view::npos && colon > 0 && uri.find('/') > colon;
}

// RFC 3986, 5.2, as far as identifiers of schemas need it.
std::string joined(const std::string& base, const std::string& reference) {
  if (reference.empty()) return base;
  if (has_scheme(reference) || base.empty()) return reference;
  if (base.starts_with("urn:")) return reference;
  const size_t authority = base.find("//");
  const size_t path = base.find('/', authority == std::string::npos ? 0 : authority + 2);
  if (reference.front() == '/')
    return base.substr(0, authority == std::string::npos ? 0 : path) + reference;
  const size_t slash = base.rfind('/');
  const bool has_path = path != std::string::npos && slash != std::string::npos && slash >= path;
  return (has_path ? base.substr(0, slash + 1) : base + "/") + reference;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t at) {
      const char c = text[at];
      return c >= '0' && c <= '9'                     ? c - '0'
             : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                      : -1;
    };
    if (text[i] == '%' && i + 2 < text.size() && digit(i + 1) >= 0 && digit(i + 2) >= 0) {
      out += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string id_of(const Json& schema) {
  const auto id = schema.find("$id");
  return id != schema.end() && id->is_string() ? id->get<std::string>() : "";
}

// Keys whose values are data, not schemas.
bool is_data(std::string_view key) {
  return key == "enum" || key == "const" || key == "default" || key == "examples";
}

}  // namespace

std::string escaped_pointer(std::string_view token) {
  std::string out;
  for (const char c : token) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

SchemaDocument::SchemaDocument(std::string_view text)
    : json_(std::make_unique<const Json>(
          parse_json(text, "schema", {.max_bytes = size_t{1} << 20, .max_depth = kMaxDepth}))) {
  if (!json_->is_object() && !json_->is_boolean())
    fail_grammar("", "expected a JSON schema: an object or a boolean");
  if (json_->is_object()) {
    const auto dialect = json_->find("$schema");
    if (dialect != json_->end() && dialect->is_string())
      for (const char* old : {"draft-03", "draft-04", "draft-06", "draft-07"})
        ref_stands_alone_ |= dialect->get_ref<const std::string&>().find(old) != std::string::npos;
  }
  resources_[""] = {json_.get(), "", ""};
  index(*json_, "", "", 0);
}

void SchemaDocument::index(const Json& value,
                           const std::string& pointer,
                           std::string base,
                           int depth) {
  if (++nodes_ > kMaxNodes) fail_grammar("", "more than {} values in the schema", kMaxNodes);
  if (value.is_object()) {
    const bool is_ref = ref_stands_alone_ && value.contains("$ref");
    if (const std::string id = is_ref ? "" : id_of(value); !id.empty()) {
      const std::string whole = joined(base, id);
      const size_t hash = std::min(whole.find('#'), whole.size());
      if (hash + 1 < whole.size()) {
        resources_.try_emplace(joined(base, "") + whole.substr(hash),
                               SchemaPlace{&value, pointer, base});
      } else {
        base = whole.substr(0, hash);
        resources_.insert_or_assign(base, SchemaPlace{&value, pointer, base});
      }
    }
    for (const char* key : {"$anchor", "$dynamicAnchor"})
      if (const auto anchor = value.find(key); anchor != value.end() && anchor->is_string())
        resources_.try_emplace(base + "#" + anchor->get<std::string>(),
                               SchemaPlace{&value, pointer, base});
    for (const auto& [key, inner] : value.items())
      if (!is_data(key)) index(inner, pointer + "/" + escaped_pointer(key), base, depth + 1);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i)
      index(value[i], pointer + "/" + std::to_string(i), base, depth + 1);
  }
}

SchemaPlace SchemaDocument::at(const Json& value,
                               std::string pointer,
                               const std::string& base) const {
  if (!value.is_object() && !value.is_boolean())
    fail_grammar(pointer, "expected a JSON schema: an object or a boolean");
  std::string own = base;
  if (value.is_object() && !(ref_stands_alone_ && value.contains("$ref")))
    if (const std::string id = id_of(value); !id.empty() && id.front() != '#') {
      own = joined(base, id);
      own.resize(std::min(own.find('#'), own.size()));
    }
  return {&value, std::move(pointer), std::move(own)};
}

SchemaPlace SchemaDocument::root() const {
  return at(*json_, "", "");
}

SchemaPlace SchemaDocument::child(const SchemaPlace& parent, std::string_view key) const {
  return at(parent.schema->at(std::string(key)),
            parent.pointer + "/" + escaped_pointer(key),
            parent.base);
}

SchemaPlace SchemaDocument::child(const SchemaPlace& parent,
                                  std::string_view key,
                                  std::string_view inner) const {
  const Json& group = parent.schema->at(std::string(key));
  const Json& value =
      group.is_array() ? group.at(std::stoul(std::string(inner))) : group.at(std::string(inner));
  return at(value,
            parent.pointer + "/" + escaped_pointer(key) + "/" + escaped_pointer(inner),
            parent.base);
}

SchemaPlace SchemaDocument::resolve(const std::string& reference, const SchemaPlace& from) const {
  const std::string where = from.pointer + "/$ref";
  const size_t hash = std::min(reference.find('#'), reference.size());
  const std::string resource = hash == 0 ? from.base : joined(from.base, reference.substr(0, hash));
  const std::string fragment =
      hash < reference.size() ? percent_decoded(std::string_view(reference).substr(hash + 1)) : "";
  const bool is_anchor = !fragment.empty() && fragment.front() != '/';
  const auto found = resources_.find(is_anchor ? resource + "#" + fragment : resource);
  if (found == resources_.end())
    fail_grammar(where,
                 "\"{}\" is not in this document; other documents are not fetched",
                 reference.substr(0, 200));
  if (is_anchor || fragment.empty())
    return at(*found->second.schema, found->second.pointer, found->second.base);
  // Walks down the pointer; an $id on the way is the new base.
  SchemaPlace place = found->second;
  const Json* value = place.schema;
  std::string pointer = place.pointer, base = place.base;
  for (size_t begin = 1; begin <= fragment.size();) {
    const size_t end = std::min(fragment.find('/', begin), fragment.size());
    std::string token;
    for (size_t i = begin; i < end; ++i) {
      const bool is_escape = fragment[i] == '~' && i + 1 < end;
      token += is_escape ? (fragment[++i] == '1' ? '/' : '~') : fragment[i];
    }
    const Json* next = nullptr;
    if (value->is_object() && value->contains(token)) next = &value->at(token);
    const bool is_index =
        !token.empty() && token.size() < 7 &&
        std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (value->is_array() && is_index && std::stoul(token) < value->size())
      next = &(*value)[std::stoul(token)];
    if (!next) fail_grammar(where, "\"{}\" points at nothing", reference.substr(0, 200));
    value = next;
    pointer += "/" + escaped_pointer(token);
    if (end < fragment.size() && value->is_object()) base = at(*value, pointer, base).base;
    begin = end + 1;
  }
  return at(*value, pointer, base);
}

}  // namespace quern
