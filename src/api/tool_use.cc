// SPDX-License-Identifier: Apache-2.0
#include "api/tool_use.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/parsers/dialect_parser.h"
#include "base/hash.h"

namespace quern {
namespace {

constexpr int kMaxCalls = 128;  // of one answer; what calls more is text
constexpr std::string_view kExpected =
    "tool_choice: expected \"none\", \"auto\", \"required\" or {\"type\": \"function\", "
    "\"function\": "
    "{\"name\": …}}";

std::string named_tool(const Json& choice, const Json* tools) {
  const auto function = choice.find("function");
  const auto type = choice.find("type");
  const bool is_function = type != choice.end() && *type == "function" &&
                           function != choice.end() && function->is_object() &&
                           function->contains("name") && function->at("name").is_string();
  if (!is_function) fail_field("tool_choice", "{}, got another object", kExpected);
  const std::string name = function->at("name").get<std::string>();
  const bool is_known = tools && std::any_of(tools->begin(), tools->end(), [&](const Json& tool) {
                          return tool.at("function").at("name") == name;
                        });
  if (!is_known)
    fail_field("tool_choice",
               "tool_choice: \"{}\" is none of the request's tools; name one of them",
               name.substr(0, 256));
  return name;
}

ToolChoice choice_of(FieldReader& fields, const Json* tools) {
  using Mode = ToolChoice::Mode;
  const Json* field = fields.find("tool_choice");
  if (!field) return {tools ? Mode::automatic : Mode::none, {}};
  if (field->is_object()) return {Mode::named, named_tool(*field, tools)};
  const std::string mode = field->is_string() ? field->get<std::string>() : std::string();
  if (mode == "none") return {Mode::none, {}};
  if (mode == "auto") return {tools ? Mode::automatic : Mode::none, {}};
  if (mode != "required")
    fail_field("tool_choice",
               "{}, got {}",
               kExpected,
               field->is_string() ? mode.substr(0, 64) : std::string(json_type_name(*field)));
  if (!tools)
    fail_field("tool_choice", "tool_choice: \"required\" needs tools; the request has none");
  return {Mode::required, {}};
}

uint64_t seed_of(const std::string& id, int choice) {
  const std::string text = format("{}/{}", id, choice);
  return hash_bytes(std::as_bytes(std::span(text))).low;
}

// </think> as a special token cannot be part of what a grammar allows: then a forced call comes at
// once.
bool thinks_in_front_of_calls(const ReadingRequest& request) {
  return request.dialects.reasoning && request.dialects.reasoning_markers.empty();
}

}  // namespace

ToolUse ToolUse::parse(FieldReader& fields, const Json* tools) {
  ToolUse out;
  out.choice = choice_of(fields, tools);
  const Json* said = fields.find("tool_choice");
  out.refuses_calls = said && said->is_string() && *said == "none";
  out.is_parallel = fields.boolean_or("parallel_tool_calls", true);
  out.shows_reasoning = fields.boolean_or("include_reasoning", true);
  out.separates_reasoning = fields.boolean_or("separate_reasoning", true);
  return out;
}

AnswerReading reading_of(const ReadingRequest& request) {
  const AnswerDialects& dialects = request.dialects;
  const ToolUse& use = request.use;
  const ToolChoice& choice = use.choice;
  AnswerReading out;
  DialectParser::Options options;
  const ReasoningFamily family = dialects.reasoning.value_or(ReasoningFamily());
  options.prompt = thinking_at_end(request.prompt.text, family);
  if (use.separates_reasoning) options.reasoning = dialects.reasoning;
  options.shows_reasoning = use.shows_reasoning;
  std::shared_ptr<const ToolDialect> dialect;
  if (request.tools && choice.mode != ToolChoice::Mode::none) {
    const bool has_reasoning = thinks_in_front_of_calls(request);
    const auto constraint = tool_constraint(dialects.tool_parser,
                                            {.tools = *request.tools,
                                             .choice = choice,
                                             .is_parallel = use.is_parallel,
                                             .has_reasoning = has_reasoning,
                                             .family = family,
                                             .prompt = options.prompt,
                                             .special_tokens = dialects.tool_markers,
                                             .calls_before = request.calls_before});
    dialect = constraint && !constraint->is_in_dialect ? dialects.fallback : dialects.tools;
    if (constraint) out.constraint = constraint->spec;
    if (choice.is_forced() && !has_reasoning) options.prompt = PromptThinking::closed;
    options.tools = ToolSet(request.tools);
    const bool is_single = !use.is_parallel || choice.mode == ToolChoice::Mode::named;
    options.limits.max_calls = is_single ? 1 : kMaxCalls;
    options.ends_after_calls = is_single;
  }
  if (!request.tools && !use.refuses_calls && dialects.tools && dialects.tools->has_own_tools())
    dialect = dialects.tools;
  if (options.reasoning) out.shown_special_ids = dialects.reasoning_markers;
  if (dialect)
    for (const auto& [text, id] : dialects.tool_markers) out.shown_special_ids.push_back(id);
  out.has_reasoning = options.reasoning.has_value();
  if (!dialect && !options.reasoning) return out;
  out.make_parser = [options, dialect, id = request.id](int index) {
    DialectParser::Options own = options;
    own.dialect = dialect.get();
    own.limits.id_seed = seed_of(id, index);
    return std::make_unique<DialectParser>(std::move(own));
  };
  return out;
}

int64_t tool_calls_in(const Json& messages) {
  int64_t count = 0;
  for (const Json& message : messages)
    if (const auto calls = message.find("tool_calls"); calls != message.end() && calls->is_array())
      count += static_cast<int64_t>(calls->size());
  return count;
}

}  // namespace quern
