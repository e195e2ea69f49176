// SPDX-License-Identifier: Apache-2.0
// Specs → what xgrammar is given.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "sampling/grammar/grammar_compiler.h"
#include "sampling/grammar/grammar_error.h"
#include "sampling/grammar/schema_writer.h"

namespace quern {
namespace {

constexpr int kMaxGroups = 64, kMaxTagDepth = 32;
constexpr size_t kMaxRules = 500, kMaxEbnfBytes = size_t{64} << 10;
constexpr int64_t kMaxRepeat = 10000;

std::string regex_grammar(const std::string& source) {
  TextRules rules;
  const std::string body = rules.of(whole_match(parse_pattern(source)), Writing::plain);
  rules.define("root", body);
  return rules.text();
}

// Bounds on what cannot be interrupted: groups within groups, and repetitions by count.
void check_ebnf(const std::string& text) {
  if (text.size() > kMaxEbnfBytes)
    fail_grammar("", "a grammar of {} bytes; the limit is {}", text.size(), kMaxEbnfBytes);
  size_t rules = 0;
  for (size_t at = text.find("::="); at != std::string::npos; at = text.find("::=", at + 3))
    ++rules;
  if (rules > kMaxRules) fail_grammar("", "{} rules; the limit is {}", rules, kMaxRules);
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' || c == '[') {  // texts and classes: skipped
      const char end = c == '"' ? '"' : ']';
      for (++i; i < text.size() && text[i] != end && text[i] != '\n'; ++i)
        if (text[i] == '\\') ++i;
      continue;
    }
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (depth > kMaxGroups) fail_grammar("", "groups are nested deeper than {}", kMaxGroups);
    if (c != '{') continue;
    int64_t count = 0;
    for (++i; i < text.size() && text[i] != '}'; ++i) {
      count = text[i] >= '0' && text[i] <= '9'
                  ? std::min<int64_t>(count * 10 + (text[i] - '0'), 1 << 30)
                  : 0;
      if (count > kMaxRepeat) fail_grammar("", "a repetition of more than {}", kMaxRepeat);
    }
  }
}

// The schemas and regular expressions of a structural tag become grammars of this house.
void replace_formats(Json& node, const std::string& pointer, int depth) {
  if (depth > kMaxTagDepth) fail_grammar(pointer, "nested deeper than {}", kMaxTagDepth);
  if (node.is_array())
    for (size_t i = 0; i < node.size(); ++i)
      replace_formats(node[i], pointer + "/" + std::to_string(i), depth + 1);
  if (!node.is_object()) return;
  const auto type = node.find("type");
  const std::string name = type != node.end() && type->is_string() ? type->get<std::string>() : "";
  const auto grammar = [&](const char* key, auto translate) {
    if (!node.contains(key)) fail_grammar(pointer, "a \"{}\" without its \"{}\"", name, key);
    const std::string where = pointer + "/" + key;
    const Json value = node.at(key);
    std::string text;
    try {
      text = translate(value);
    } catch (const GrammarError& error) {
      const std::string inner = error.pointer();
      const std::string what = error.what();
      throw GrammarError(
          error.code(), where + inner, inner.empty() ? what : what.substr(inner.size() + 2));
    }
    node = Json{{"type", "grammar"}, {"grammar", text}};
  };
  if (name == "json_schema") {
    grammar("json_schema", [](const Json& schema) { return schema_grammar(schema.dump()); });
  } else if (name == "regex") {
    grammar("pattern", [&](const Json& source) {
      if (!source.is_string()) fail_grammar("", "expected a string");
      return regex_grammar(source.get<std::string>());
    });
  } else if (name == "grammar") {
    const auto text = node.find("grammar");
    if (text != node.end() && text->is_string()) check_ebnf(text->get<std::string>());
  } else if (name == "qwen_xml_parameter" || name == "qwen_xml") {
    fail_grammar(pointer, "\"{}\" would drop keywords of its schema; use json_schema", name);
  } else {
    for (auto& [key, value] : node.items())
      if (value.is_structured())
        replace_formats(value, pointer + "/" + escaped_pointer(key), depth + 1);
  }
}

// {"structures": [{begin, schema, end}], "triggers": […]}, as it was before formats came.
Json from_structures(const Json& tag) {
  Json tags = Json::array();
  for (const Json& item : tag.at("structures")) {
    for (const char* key : {"begin", "schema", "end"})
      if (!item.is_object() || !item.contains(key))
        fail_grammar("/structures", "each needs \"begin\", \"schema\" and \"end\"");
    const Json schema = item.at("schema").is_string()
                            ? parse_json(item.at("schema").get_ref<const std::string&>(), "schema")
                            : item.at("schema");
    tags.push_back({{"type", "tag"},
                    {"begin", item.at("begin")},
                    {"content", {{"type", "json_schema"}, {"json_schema", schema}}},
                    {"end", item.at("end")}});
  }
  if (!tag.contains("triggers")) fail_grammar("", "\"structures\" without \"triggers\"");
  return {{"type", "triggered_tags"}, {"triggers", tag.at("triggers")}, {"tags", tags}};
}

std::string structural_tag(const std::string& text) {
  const Json tag = parse_json(text, "structural tag", {.max_depth = 64});
  if (!tag.is_object()) fail_grammar("", "expected an object");
  const bool is_old = tag.contains("structures") && tag.at("structures").is_array();
  if (!is_old && !tag.contains("format"))
    fail_grammar("", "expected a \"format\", or \"structures\" and \"triggers\"");
  Json format = is_old ? from_structures(tag) : tag.at("format");
  replace_formats(format, is_old ? "" : "/format", 0);
  return Json{{"type", "structural_tag"}, {"format", format}}.dump();
}

}  // namespace

std::string translated(const GrammarSpec& spec) {
  switch (spec.kind) {
    case GrammarSpec::Kind::json_object:
      return schema_grammar(R"({"type": "object"})");
    case GrammarSpec::Kind::json_schema:
      return schema_grammar(spec.text);
    case GrammarSpec::Kind::regex:
      return regex_grammar(spec.text);
    case GrammarSpec::Kind::ebnf:
      check_ebnf(spec.text);
      return spec.text;
    case GrammarSpec::Kind::structural_tag:
      return structural_tag(spec.text);
  }
  return {};
}

}  // namespace quern
