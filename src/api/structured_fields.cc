// SPDX-License-Identifier: Apache-2.0
#include "api/structured_fields.h"

#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/grammar_presets.h"
#include "api/service.h"
#include "sampling/grammar/grammar_error.h"

namespace quern {
namespace {

using Kind = GrammarSpec::Kind;

constexpr size_t kMaxChoices = 4096;

[[noreturn]] void refuse(const std::string& field, std::string_view why) {
  throw RequestError(
      ErrorCode::unsupported, field, format("{}: not supported: {}", field, why), "unsupported");
}

Constraint any_object(const std::string& path) {
  Constraint out;
  out.field = path;
  return out;
}

// JSON, or (from older clients) a string of JSON.
Json json_of(const Json& value, const std::string& path) {
  if (!value.is_string()) return value;
  try {
    return parse_json(value.get_ref<const std::string&>(), path);
  } catch (const Error& error) {
    throw RequestError(error.code(), path, error.what());
  }
}

Constraint schema_of(const Json& value, const std::string& path) {
  const Json schema = json_of(value, path);
  if (!schema.is_object() && !schema.is_boolean())
    fail_field(path, "{}: expected a JSON schema, got {}", path, json_type_name(schema));
  return {{Kind::json_schema, schema.dump()}, path};
}

Constraint text_of(const Json& value, const std::string& path, Kind kind) {
  if (!value.is_string())
    fail_field(path, "{}: expected a string, got {}", path, json_type_name(value));
  if (value.get_ref<const std::string&>().empty())
    fail_field(path, "{}: an empty string; leave it out", path);
  return {{kind, value.get<std::string>()}, path};
}

Constraint choices_of(const Json& value, const std::string& path) {
  if (!value.is_array() || value.empty() || value.size() > kMaxChoices)
    fail_field(path,
               "{}: expected 1 to {} strings, got {}",
               path,
               kMaxChoices,
               value.is_array() ? format("{}", value.size()) : std::string(json_type_name(value)));
  std::vector<std::string> choices;
  for (const Json& choice : value) {
    if (!choice.is_string())
      fail_field(path, "{}: expected strings, got {}", path, json_type_name(choice));
    choices.push_back(choice.get<std::string>());
  }
  return {choice_grammar(choices), path};
}

Constraint preset_of(const Json& value, const std::string& path) {
  const std::string name = value.is_string() ? value.get<std::string>() : std::string();
  if (auto spec = grammar_preset(name)) return {std::move(*spec), path};
  std::string known;
  for (const std::string& one : grammar_preset_names()) known += (known.empty() ? "" : ", ") + one;
  fail_field(path,
             "{}: expected the name of a grammar, one of {}, got {}",
             path,
             known,
             value.is_string() ? name.substr(0, 64) : std::string(json_type_name(value)));
}

Constraint tag_of(const Json& value, const std::string& path) {
  const Json tag = json_of(value, path);
  if (!tag.is_object())
    fail_field(path, "{}: expected an object, got {}", path, json_type_name(tag));
  return {{Kind::structural_tag, tag.dump()}, path};
}

std::optional<Constraint> response_format_of(const Json& value) {
  const std::string where = "response_format";
  FieldReader format_fields(value, where + ".");
  const std::string type = format_fields.string("type").value_or("");
  if (type == "text") return std::nullopt;
  if (type == "json_object") return any_object(where);
  if (type == "structural_tag") return tag_of(value, where);
  if (type != "json_schema")
    fail_field(where + ".type",
               "{}.type: expected \"text\", \"json_object\", \"json_schema\" or "
               "\"structural_tag\", got \"{}\"",
               where,
               type.substr(0, 64));
  const Json* inner = format_fields.find("json_schema");
  const std::string inner_path = format_fields.path("json_schema");
  if (!inner)
    fail_field(inner_path, "{}: missing; expected an object with a \"schema\"", inner_path);
  FieldReader reader(*inner, inner_path + ".");
  reader.ignore({"name", "description"});
  reader.boolean("strict");  // all schemas are enforced
  const Json* schema = reader.find("schema");
  reader.reject_misspelt();
  if (!schema)
    fail_field(reader.path("schema"), "{}: missing; expected a JSON schema", reader.path("schema"));
  return schema_of(*schema, reader.path("schema"));
}

// At most one of them.
struct Chosen {
  void take(std::optional<Constraint> next) {
    if (!next) return;
    if (chosen)
      fail_field(
          next->field, "{} and {} both constrain the answer; keep one", chosen->field, next->field);
    chosen = std::move(next);
  }
  template <typename Read, typename... Args>
  void read(FieldReader& fields, std::string_view name, Read read, Args... args) {
    if (const Json* value = fields.find(name)) take(read(*value, fields.path(name), args...));
  }
  std::optional<Constraint> chosen;
};

void read_structured_outputs(const Json& value, Chosen& chosen) {
  FieldReader fields(value, "structured_outputs.");
  chosen.read(fields, "json", schema_of);
  chosen.read(fields, "regex", text_of, Kind::regex);
  chosen.read(fields, "choice", choices_of);
  chosen.read(fields, "grammar", text_of, Kind::ebnf);
  chosen.read(fields, "structural_tag", tag_of);
  chosen.read(fields, "preset", preset_of);
  if (fields.boolean_or("json_object", false)) chosen.take(any_object(fields.path("json_object")));
  fields.refuse("whitespace_pattern", "white space in JSON is what the grammar says");
  fields.refuse("disable_any_whitespace", "white space in JSON is what the grammar says");
  fields.refuse("disable_additional_properties", "say \"additionalProperties\": false");
  fields.ignore({"disable_fallback", "backend"});
  if (const auto unknown = fields.reject_misspelt(); !unknown.empty())
    refuse("structured_outputs." + unknown.front(), "remove it");
}

}  // namespace

GrammarSpec choice_grammar(const std::vector<std::string>& choices) {
  std::string text = "root ::= ";
  for (size_t i = 0; i < choices.size(); ++i) {
    text += i == 0 ? "\"" : " | \"";
    for (const char c : choices[i]) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || c == '"' || c == '\\') {
        text += format("\\u{:04x}", byte);
      } else {
        text += c;
      }
    }
    text += '"';
  }
  return {Kind::ebnf, text};
}

std::optional<Constraint> constraint_of(FieldReader& fields) {
  Chosen chosen;
  if (const Json* value = fields.find("response_format")) chosen.take(response_format_of(*value));
  if (const Json* value = fields.find("structured_outputs"))
    read_structured_outputs(*value, chosen);
  chosen.read(fields, "guided_json", schema_of);
  chosen.read(fields, "guided_regex", text_of, Kind::regex);
  chosen.read(fields, "guided_choice", choices_of);
  chosen.read(fields, "guided_grammar", text_of, Kind::ebnf);
  fields.refuse("guided_whitespace_pattern", "white space in JSON is what the grammar says");
  fields.ignore({"guided_decoding_backend"});
  for (const std::string_view name : {"structural_tag", "json_schema", "regex", "ebnf", "grammar"})
    fields.refuse(name, "use response_format or structured_outputs");
  return std::move(chosen.chosen);
}

std::shared_ptr<const Grammar> compiled(const std::optional<Constraint>& constraint,
                                        const Service& service) {
  if (!constraint) return nullptr;
  const std::string& field = constraint->field;
  try {
    return service.compile(constraint->spec);
  } catch (const GrammarError& error) {
    throw RequestError(error.code(),
                       field + error.pointer(),
                       format("{}: {}", field, error.what()),
                       "invalid_grammar");
  }
}

}  // namespace quern
