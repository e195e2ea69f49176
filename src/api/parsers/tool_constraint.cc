// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/tool_constraint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace quern {
namespace {

// How calls are written around a name and the JSON of the arguments. Dialects that write arguments
// as bare text, or calls with special tokens (which no grammar allows), have no entry.
struct CallForm {
  std::string_view parser;
  std::string_view before_name, before_arguments, behind, separator;
  std::string_view list_begin, list_end;
  std::string_view trigger;  // where a call may begin in the midst of text; empty: nowhere
};

constexpr CallForm kForms[] = {
    {"hermes",
     "<tool_call>\n{\"name\": \"",
     "\", \"arguments\": ",
     "}\n</tool_call>",
     "\n",
     "",
     "",
     "<tool_call>"},
    {"llama3_json", "{\"name\": \"", "\", \"parameters\": ", "}", "; ", "", "", ""},
};
constexpr CallForm kFallback = {
    "json", "{\"name\": \"", "\", \"parameters\": ", "}", ", ", "[", "]", ""};

const CallForm& form_of(std::string_view parser) {
  if (parser == "qwen3_json") parser = "hermes";
  if (parser == "llama4_json") parser = "llama3_json";
  for (const CallForm& form : kForms)
    if (form.parser == parser) return form;
  return kFallback;
}

const Json& function_of(const Json& tool) {
  return tool.at("function");
}

bool is_strict(const Json& tool) {
  const auto strict = function_of(tool).find("strict");
  return strict != function_of(tool).end() && strict->is_boolean() && strict->get<bool>();
}

// A function without parameters takes none.
Json schema_of(const Json& tool) {
  const auto schema = function_of(tool).find("parameters");
  if (schema != function_of(tool).end() && schema->is_object() && !schema->empty()) return *schema;
  return {{"type", "object"}, {"additionalProperties", false}};
}

Json call_tag(const Json& tool, const CallForm& form, Json schema) {
  const std::string name = Json(function_of(tool).at("name")).dump();  // quoted, escaped
  return {{"type", "tag"},
          {"begin",
           std::string(form.before_name) + name.substr(1, name.size() - 2) +
               std::string(form.before_arguments)},
          {"content", {{"type", "json_schema"}, {"json_schema", std::move(schema)}}},
          {"end", form.behind}};
}

Json text_of(std::string_view text) {
  return {{"type", "const_string"}, {"value", text}};
}

Json sequence_of(Json elements) {
  return {{"type", "sequence"}, {"elements", std::move(elements)}};
}

// One call or more, and nothing else.
Json calls_of(const ToolConstraintRequest& request, const CallForm& form) {
  Json tags = Json::array();
  for (const Json& tool : request.tools)
    if (request.choice.mode != ToolChoice::Mode::named ||
        function_of(tool).at("name") == request.choice.name)
      tags.push_back(call_tag(tool, form, schema_of(tool)));
  const bool is_single = !request.is_parallel || request.choice.mode == ToolChoice::Mode::named;
  Json calls = {{"type", "tags_with_separator"},
                {"tags", std::move(tags)},
                {"separator", form.separator},
                {"at_least_one", true},
                {"stop_after_first", is_single}};
  if (form.list_begin.empty()) return calls;
  return sequence_of(
      Json::array({text_of(form.list_begin), std::move(calls), text_of(form.list_end)}));
}

// Reasoning may stand in front, and does where the prompt opened it.
Json behind_reasoning(Json calls, const ToolConstraintRequest& request) {
  if (!request.has_reasoning || request.prompt == PromptThinking::closed) return calls;
  const bool is_open = request.prompt == PromptThinking::open;
  const Json thinking = {{"type", "tag"},
                         {"begin", is_open ? std::string_view() : request.family.begin},
                         {"content", {{"type", "any_text"}}},
                         {"end", std::string(request.family.end) + "\n\n"}};
  Json thoughtful = sequence_of(Json::array({thinking, calls}));
  if (is_open) return thoughtful;
  return {{"type", "or"}, {"elements", Json::array({std::move(thoughtful), std::move(calls)})}};
}

// Text with calls in it; the arguments of strict tools are held to their schema.
Json strict_calls(const ToolConstraintRequest& request, const CallForm& form) {
  Json tags = Json::array();
  for (const Json& tool : request.tools)
    tags.push_back(
        call_tag(tool, form, is_strict(tool) ? schema_of(tool) : Json{{"type", "object"}}));
  return {{"type", "triggered_tags"},
          {"triggers", Json::array({form.trigger})},
          {"tags", std::move(tags)}};
}

}  // namespace

std::optional<ToolConstraint> tool_constraint(std::string_view tool_parser,
                                              const ToolConstraintRequest& request) {
  const CallForm& form = form_of(tool_parser);
  Json format;
  if (request.choice.is_forced()) {
    format = behind_reasoning(calls_of(request, form), request);
  } else {
    const bool has_strict = std::any_of(request.tools.begin(), request.tools.end(), is_strict);
    if (request.choice.mode == ToolChoice::Mode::none || !has_strict || form.trigger.empty())
      return std::nullopt;
    format = strict_calls(request, form);
  }
  const Json tag = {{"type", "structural_tag"}, {"format", std::move(format)}};
  return ToolConstraint{{GrammarSpec::Kind::structural_tag, tag.dump()}, &form != &kFallback};
}

}  // namespace quern
