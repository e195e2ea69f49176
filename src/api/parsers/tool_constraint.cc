// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/tool_constraint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/format.h"

namespace quern {
namespace {

// How calls are written around a name and the JSON of the arguments. Kimi's numbered calls stand
// below; dialects that write arguments as bare text have no entry.
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

// A string of a dialect: a token where it is a special one, whose text no grammar allows.
Json mark_of(std::string_view text, const SpecialTokens& tokens) {
  const auto token = tokens.find(text);
  if (token == tokens.end()) return text_of(text);
  return {{"type", "token"}, {"token", token->second}};
}

constexpr std::string_view kKimi = "kimi_k2";
constexpr std::string_view kSectionBegin = "<|tool_calls_section_begin|>",
                           kSectionEnd = "<|tool_calls_section_end|>",
                           kCallBegin = "<|tool_call_begin|>",
                           kArgumentBegin = "<|tool_call_argument_begin|>",
                           kCallEnd = "<|tool_call_end|>";
constexpr int64_t kMostNumbered = 4;  // calls of one answer, each with a rule for every tool

// One of the tools, as call number `index` of the conversation: "functions.NAME:INDEX".
Json numbered_call(const ToolConstraintRequest& request, int64_t index) {
  Json tools = Json::array();
  for (const Json& tool : request.tools) {
    const std::string name = function_of(tool).at("name").get<std::string>();
    if (request.choice.mode == ToolChoice::Mode::named && name != request.choice.name) continue;
    const bool is_free = !request.choice.is_forced() && !is_strict(tool);
    tools.push_back(sequence_of(
        Json::array({text_of(format("functions.{}:{}", name, index)),
                     mark_of(kArgumentBegin, request.special_tokens),
                     {{"type", "json_schema"},
                      {"json_schema", is_free ? Json{{"type", "object"}} : schema_of(tool)}}})));
  }
  return sequence_of(Json::array({mark_of(kCallBegin, request.special_tokens),
                                  {{"type", "or"}, {"elements", std::move(tools)}},
                                  mark_of(kCallEnd, request.special_tokens)}));
}

// One call or more, numbered on from those of the conversation.
Json numbered_calls(const ToolConstraintRequest& request) {
  const bool is_single = !request.is_parallel || request.choice.mode == ToolChoice::Mode::named;
  Json rest;
  for (int64_t i = is_single ? 1 : kMostNumbered; i-- > 0;) {
    Json call = numbered_call(request, request.calls_before + i);
    if (!rest.is_null())
      call = sequence_of(
          Json::array({std::move(call), {{"type", "optional"}, {"content", std::move(rest)}}}));
    rest = std::move(call);
  }
  return rest;
}

Json kimi_section(const ToolConstraintRequest& request) {
  return sequence_of(Json::array({mark_of(kSectionBegin, request.special_tokens),
                                  numbered_calls(request),
                                  mark_of(kSectionEnd, request.special_tokens)}));
}

// Text with at most one section in it; nothing where its marks are not special tokens.
std::optional<Json> strict_kimi(const ToolConstraintRequest& request) {
  const auto begin = request.special_tokens.find(kSectionBegin);
  if (begin == request.special_tokens.end()) return std::nullopt;
  Json others = Json::array();
  for (const auto& [text, id] : request.special_tokens)
    if (id != begin->second) others.push_back(id);
  const Json tag = {{"type", "tag"},
                    {"begin", mark_of(kSectionBegin, request.special_tokens)},
                    {"content", numbered_calls(request)},
                    {"end", mark_of(kSectionEnd, request.special_tokens)}};
  return Json{{"type", "token_triggered_tags"},
              {"trigger_tokens", Json::array({begin->second})},
              {"exclude_tokens", std::move(others)},
              {"tags", Json::array({tag})},
              {"stop_after_first", true}};
}

// Any text without `end`, whose first character comes in it but once. Unlike any_text it has no
// special tokens in it, also none of those that the constraint names.
Json text_without(std::string_view end) {
  const char first = end.front();
  std::string again = std::string(1, first), goes_on, breaks_off;  // behind the first character
  for (size_t i = 1; i < end.size(); ++i) {
    const std::string part(end.substr(1, i - 1));
    if (i > 1) again += format("|{}{}", part, first);
    goes_on += format("{}{}[^{}{}]", i > 1 ? "|" : "", part, first, end[i]);
    if (i > 1) breaks_off += format("{}{}", i > 2 ? "|" : "", part);
  }
  const std::string begun = format("{}(?:{})*", first, again);
  return {{"type", "regex"},
          {"pattern",
           format("(?:[^{}]|{}(?:{}))*(?:{}(?:{})?)?", first, begun, goes_on, begun, breaks_off)}};
}

// Reasoning may stand in front, and does where the prompt opened it; `gap` lies behind it.
Json behind_reasoning(Json calls, std::string_view gap, const ToolConstraintRequest& request) {
  if (!request.has_reasoning || request.prompt == PromptThinking::closed) return calls;
  const bool is_open = request.prompt == PromptThinking::open;
  const Json thinking = {{"type", "tag"},
                         {"begin", is_open ? std::string_view() : request.family.begin},
                         {"content",
                          request.special_tokens.empty() ? Json{{"type", "any_text"}}
                                                         : text_without(request.family.end)},
                         {"end", std::string(request.family.end) + std::string(gap)}};
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
  const bool is_kimi = tool_parser == kKimi;
  const CallForm& form = form_of(tool_parser);
  std::optional<Json> format;
  if (request.choice.is_forced()) {
    format = is_kimi ? behind_reasoning(kimi_section(request), "", request)
                     : behind_reasoning(calls_of(request, form), "\n\n", request);
  } else {
    const bool has_strict = std::any_of(request.tools.begin(), request.tools.end(), is_strict);
    if (request.choice.mode == ToolChoice::Mode::none || !has_strict) return std::nullopt;
    if (is_kimi)
      format = strict_kimi(request);
    else if (!form.trigger.empty())
      format = strict_calls(request, form);
  }
  if (!format) return std::nullopt;
  const Json tag = {{"type", "structural_tag"}, {"format", std::move(*format)}};
  return ToolConstraint{{GrammarSpec::Kind::structural_tag, tag.dump()},
                        is_kimi || &form != &kFallback};
}

}  // namespace quern
