// SPDX-License-Identifier: Apache-2.0
// What /v1/responses, /v1/messages and …/render ask and answer.
#include "server/openapi_fields.h"

namespace quern::openapi {
namespace {

Json object() {
  return typed("object");
}
Json word(std::vector<std::string> words) {
  return {{"type", "string"}, {"enum", std::move(words)}};
}
Json text_or(Json other) {
  return one_of(Json::array({text(), std::move(other)}));
}

// Fields that a dialect refuses, or spells in its own way, are left out.
std::vector<Field> common_fields(const std::vector<Field>& sampling) {
  return joined(without(sampling,
                        {"n",
                         "best_of",
                         "max_tokens",
                         "prompt_logprobs",
                         "response_format",
                         "return_token_ids",
                         "return_tokens_as_token_ids",
                         "stream_options"}),
                {{"include_reasoning", flag(), "false: what the model thinks is left out"},
                 {"separate_reasoning", flag(), "false: what it thinks stays in the text"},
                 {"chat_template_kwargs", object(), "Variables of the template"},
                 {"mm_processor_kwargs", object(), "As of a chat request"}});
}

void add_responses_request(Json& out, const std::vector<Field>& common) {
  out["ResponseItem"] = object_of(
      {{"type", text(), "message (the default), function_call, function_call_output, reasoning"},
       {"id", text()},
       {"status", text()},
       {"role", text(), "Of a message: user, assistant, system, developer"},
       {"content",
        text_or(list_of(object())),
        "Text, or parts: input_text, input_image, output_text, reasoning_text"},
       {"summary", list_of(object()), "Of reasoning"},
       {"call_id", text(), "Of a call and its output"},
       {"name", text(), "Of a call: the function"},
       {"arguments", text(), "Of a call: the JSON text of an object"},
       {"output", text_or(list_of(object())), "Of a call's output"}});
  out["ResponsesRequest"] = object_of(joined(
      {{"input", text_or(list_of(reference("ResponseItem"), 1, 16384)), "What is new", true},
       {"instructions", text(), "What the system says; not carried on to the next response"},
       {"previous_response_id", text(), "A stored response whose conversation goes on"},
       {"store", flag(), "false: it is not kept"},
       {"max_output_tokens", integer(1, INT32_MAX)},
       {"max_tool_calls", count(), "Of built-in tools, which are not here"},
       {"tools",
        list_of(object_of({{"type", word({"function"}), "", true},
                           {"name", text(), "", true},
                           {"description", text()},
                           {"parameters", object(), "A JSON schema"},
                           {"strict", flag(), "Arguments are held to the schema"}}),
                0,
                256)},
       {"tool_choice",
        text_or(object_of({{"type", word({"function"}), "", true}, {"name", text(), "", true}})),
        "auto, none, required, or one function"},
       {"parallel_tool_calls", flag(), "false: at most one call"},
       {"text",
        object_of({{"format",
                    object_of({{"type", word({"text", "json_object", "json_schema"}), "", true},
                               {"name", text()},
                               {"schema", object()},
                               {"strict", flag()}})},
                   {"verbosity", text()}}),
        "What the text must be"},
       {"reasoning", object_of({{"effort", text()}, {"summary", text()}})},
       {"include", list_of(text()), "message.output_text.logprobs"},
       {"top_logprobs", integer(0, 20), "Where log-probabilities are included"},
       {"metadata",
        {{"type", "object"},
         {"maxProperties", 16},
         {"propertyNames", {{"maxLength", 64}}},
         {"additionalProperties", {{"type", "string"}, {"maxLength", 512}}}},
        "Shown in the answer"},
       {"truncation", word({"disabled"})},
       {"stream_options", object_of({{"include_obfuscation", flag(), "No effect"}})},
       {"prompt_cache_key", text(), "No effect: prefixes are found by their tokens"},
       {"safety_identifier", text(), "Shown in the answer"},
       {"user", text(), "Shown in the answer"}},
      common));
}

void add_responses_answers(Json& out) {
  out["ResponseUsage"] =
      object_of({{"input_tokens", count(), "", true},
                 {"input_tokens_details", object_of({{"cached_tokens", count()}}), "", true},
                 {"output_tokens", count(), "", true},
                 {"output_tokens_details", object_of({{"reasoning_tokens", count()}}), "", true},
                 {"total_tokens", count(), "", true}});
  out["Response"] =
      object_of({{"id", text(), "", true},
                 {"object", word({"response"}), "", true},
                 {"created_at", count(), "Seconds since 1970", true},
                 {"completed_at", count()},
                 {"status", word({"in_progress", "completed", "incomplete", "failed"}), "", true},
                 {"model", text(), "", true},
                 {"output", list_of(reference("ResponseItem")), "Reasoning, messages, calls", true},
                 {"error", object_of({{"code", text(), "", true}, {"message", text(), "", true}})},
                 {"incomplete_details", object_of({{"reason", text(), "max_output_tokens"}})},
                 {"usage", reference("ResponseUsage")},
                 {"instructions", text()},
                 {"previous_response_id", text()},
                 {"metadata", object()},
                 {"store", flag()},
                 {"temperature", typed("number")},
                 {"top_p", typed("number")},
                 {"tools", list_of(object())}});
  out["ResponseItemList"] = object_of({{"object", word({"list"}), "", true},
                                       {"data", list_of(reference("ResponseItem")), "", true},
                                       {"first_id", text()},
                                       {"last_id", text()},
                                       {"has_more", flag(), "", true}});
  out["ResponseDeleted"] = object_of({{"id", text(), "", true},
                                      {"object", word({"response"}), "", true},
                                      {"deleted", flag(), "", true}});
}

void add_messages_request(Json& out, const std::vector<Field>& common) {
  out["MessageBlock"] =
      object_of({{"type", text(), "text, image, tool_use, tool_result, thinking", true},
                 {"text", text()},
                 {"source", object(), "Of an image: base64 with media_type and data, or url"},
                 {"id", text(), "Of a tool_use"},
                 {"name", text(), "Of a tool_use"},
                 {"input", object(), "Of a tool_use"},
                 {"tool_use_id", text(), "Of a tool_result"},
                 {"content", text_or(list_of(object())), "Of a tool_result"},
                 {"thinking", text()}});
  const Json format =
      object_of({{"type", word({"json_schema"}), "", true}, {"schema", object(), "", true}});
  const std::vector<Field> fields = joined(
      {{"messages",
        list_of(object_of({{"role", word({"user", "assistant"}), "", true},
                           {"content", text_or(list_of(reference("MessageBlock"), 1)), "", true}}),
                1,
                4096),
        "The last one may begin the answer",
        true},
       {"system", text_or(list_of(object())), "Text, or blocks of text"},
       {"stop_sequences", list_of(short_text(), 0, 64)},
       {"tools",
        list_of(object_of({{"name", text(), "", true},
                           {"description", text()},
                           {"input_schema", object(), "A JSON schema", true},
                           {"strict", flag(), "Arguments are held to the schema"}}),
                0,
                256)},
       {"tool_choice",
        object_of({{"type", word({"auto", "any", "tool", "none"}), "", true},
                   {"name", text(), "Of the tool"},
                   {"disable_parallel_tool_use", flag()}})},
       {"thinking",
        object_of({{"type", word({"enabled", "disabled", "adaptive"}), "", true},
                   {"budget_tokens", integer(1, INT32_MAX), "No effect"}})},
       {"output_config", object_of({{"effort", text()}, {"format", format}})},
       {"output_format", format, "The older place of output_config.format"},
       {"metadata", object(), "No effect"}},
      without(common, {"stop"}));
  const Json tokens = integer(1, INT32_MAX);
  out["MessagesRequest"] =
      object_of(joined({{"max_tokens", tokens, "Of the answer", true}}, fields));
  out["CountTokensRequest"] = object_of(joined({{"max_tokens", tokens, "No effect"}}, fields));
}

void add_messages_answers(Json& out) {
  out["MessagesAnswer"] =
      object_of({{"id", text(), "", true},
                 {"type", word({"message"}), "", true},
                 {"role", word({"assistant"}), "", true},
                 {"model", text(), "", true},
                 {"content", list_of(reference("MessageBlock")), "", true},
                 {"stop_reason", text(), "end_turn, max_tokens, stop_sequence, tool_use"},
                 {"stop_sequence", text()},
                 {"usage",
                  object_of({{"input_tokens", count(), "Those that the prefix cache had not", true},
                             {"output_tokens", count(), "", true},
                             {"cache_read_input_tokens", count()},
                             {"cache_creation_input_tokens", count()}}),
                  "",
                  true}});
  out["TokenCount"] = object_of({{"input_tokens", count(), "", true}});
  out["MessagesError"] =
      object_of({{"type", word({"error"}), "", true},
                 {"error",
                  object_of({{"type", text(), "", true}, {"message", text(), "", true}}),
                  "",
                  true}});
}

void add_rendering(Json& out) {
  out["RenderedPrompts"] =
      object_of({{"object", word({"rendered_prompts"}), "", true},
                 {"model", text(), "", true},
                 {"prompts",
                  list_of(object_of({{"prompt", text(), "The text that the template makes", true},
                                     {"token_ids", list_of(token_id()), "", true},
                                     {"media",
                                      list_of(object_of({{"type", text(), "", true},
                                                         {"first_token", count(), "", true},
                                                         {"tokens", count(), "", true}})),
                                      "",
                                      true},
                                     {"sampling_params", object(), "Defaults included", true}})),
                  "",
                  true}});
  out["TokenizerInfo"] = object_of({{"chat_template", text()},
                                    {"vocab_size", count(), "", true},
                                    {"eos_token", Json::object()}});
}

}  // namespace

void add_dialects(Json& schemas, const std::vector<Field>& sampling) {
  const std::vector<Field> common = common_fields(sampling);
  add_responses_request(schemas, common);
  add_responses_answers(schemas);
  add_messages_request(schemas, common);
  add_messages_answers(schemas);
  add_rendering(schemas);
}

}  // namespace quern::openapi
