// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "server/openapi.h"
#include "server/openapi_fields.h"

namespace quern {

using namespace openapi;

namespace {

std::vector<Field> sampling_fields() {
  return {
      {"model", text(), "One of the served names; left out: the model"},
      {"temperature", number(0, 100), "0: always the likeliest token"},
      {"top_p", {{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 1}}},
      {"top_k", integer(-1, INT32_MAX), "0 and -1: all tokens"},
      {"min_p", number(0, 1), "Of the likeliest token's probability"},
      {"repetition_penalty", number(1e-3, 100)},
      {"presence_penalty", number(-2, 2)},
      {"frequency_penalty", number(-2, 2)},
      {"seed", integer(INT64_MIN, INT64_MAX), "The same seed, the same answer"},
      {"n", integer(1, 128), "Answers per prompt"},
      {"best_of", integer(1, 128), "Only equal to n"},
      {"max_tokens",
       integer(0, INT32_MAX),
       "Of the answer; 0 only where the prompt alone is scored"},
      {"prompt_logprobs", integer(0, 20), "Of the prompt's tokens; not in streams"},
      {"truncate_prompt_tokens", integer(-1, INT32_MAX), "Keep the last so many"},
      {"cache_salt", text(), "Prefixes are shared under the same salt alone"},
      {"min_tokens", integer(0, INT32_MAX), "Before the answer may end"},
      {"stop",
       one_of(Json::array({short_text(), list_of(short_text(), 0, 64)})),
       "Strings that end the answer"},
      {"stop_token_ids", list_of(token_id(), 0, 1024)},
      {"include_stop_str_in_output", flag()},
      {"ignore_eos", flag(), "Go on behind the model's own end"},
      {"skip_special_tokens", flag()},
      {"bad_words", list_of(short_text(), 0, 1024)},
      {"allowed_token_ids", list_of(token_id(), 1, 1 << 20)},
      {"logit_bias",
       {{"type", "object"},
        {"propertyNames", {{"pattern", "^[0-9]{1,9}$"}}},
        {"additionalProperties", number(-100, 100)}},
       "Token id: what is added to its logit"},
      {"priority", integer(-1000000, 1000000), "Lower goes first"},
      {"return_token_ids", flag()},
      {"return_tokens_as_token_ids", flag()},
      {"response_format",
       {{"type", "object"},
        {"properties", {{"type", text()}}},
        {"required", Json::array({"type"})}}},
      {"structured_outputs",
       typed("object"),
       "What the answer must be: json, regex, choice, preset, …"},
      {"guided_json", one_of(Json::array({text(), typed("object"), typed("boolean")}))},
      {"guided_regex", text()},
      {"guided_choice", list_of(text(), 1, 1 << 16)},
      {"guided_grammar", text()},
      {"stream", flag(), "Server-sent events"},
      {"stream_options", reference("StreamOptions"), "Only with stream"},
  };
}

Json processor_options() {
  constexpr int64_t kPixels = int64_t{1} << 40, kFrames = 1 << 20;
  Json out = object_of(
      {{"min_pixels", integer(1, kPixels)},
       {"max_pixels", integer(1, kPixels)},
       {"size",
        object_of({{"shortest_edge", integer(1, kPixels)}, {"longest_edge", integer(1, kPixels)}})},
       {"fps", {{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 1000}}},
       {"num_frames", integer(1, kFrames)},
       {"min_frames", integer(1, kFrames)},
       {"max_frames", integer(1, kFrames)}});
  out["additionalProperties"] = false;
  return out;
}

std::vector<Field> conversation_fields() {
  return {
      {"messages", list_of(reference("Message"), 1, 4096), "The conversation", true},
      {"tools", list_of(reference("Tool"), 0, 256)},
      {"tool_choice", one_of(Json::array({text(), typed("object")}))},
      {"parallel_tool_calls", flag(), "false: at most one call"},
      {"include_reasoning", flag(), "false: what the model thinks is left out"},
      {"separate_reasoning", flag(), "false: what the model thinks stays in the content"},
      {"chat_template_kwargs", typed("object"), "Variables of the template"},
      {"mm_processor_kwargs",
       processor_options(),
       "How pictures and clips are resized and sampled"},
      {"reasoning_effort", text()},
      {"documents", typed("array"), "A variable of the template"},
      {"add_generation_prompt", flag()},
      {"continue_final_message", flag(), "Go on with the last message instead of answering it"},
      {"add_special_tokens", flag()},
  };
}

void add_requests(Json& out) {
  out["StreamOptions"] = object_of({{"include_usage", flag(), "A last event with usage"},
                                    {"continuous_usage_stats", flag(), "Usage in every event"}});
  out["Message"] =
      object_of({{"role", text(), "system, user, assistant, tool", true},
                 {"content", one_of(Json::array({text(), list_of(reference("ContentPart"))}))},
                 {"name", text()},
                 {"tool_calls", list_of(typed("object"))},
                 {"tool_call_id", text()}});
  out["ContentPart"] =
      object_of({{"type", text(), "text, image_url, video, …", true}, {"text", text()}});
  out["Tool"] = object_of({{"type", text()},
                           {"function",
                            object_of({{"name", text(), "", true},
                                       {"description", text()},
                                       {"parameters", typed("object"), "A JSON schema"}}),
                            "",
                            true}});
  out["ChatRequest"] = object_of(
      joined(joined(conversation_fields(), sampling_fields()),
             {{"max_completion_tokens", integer(1, INT32_MAX), "The newer name of max_tokens"},
              {"logprobs", flag()},
              {"top_logprobs", integer(0, 20), "Only with logprobs"},
              {"modalities", list_of(text())}}));
  const Json ids = list_of(token_id(), 1);
  out["CompletionRequest"] = object_of(joined(
      {{"prompt",
        one_of(Json::array({text(), ids, list_of(one_of(Json::array({text(), ids})), 1, 1024)})),
        "A text, token ids, or a list of either",
        true},
       {"add_special_tokens", flag()},
       {"echo", flag(), "The prompt in front of the answer"},
       {"logprobs", one_of(Json::array({integer(0, 20), flag()})), "How many tokens beside each"}},
      sampling_fields()));
  std::vector<Field> chat = conversation_fields();
  chat.front().is_required = false;
  out["TokenizeRequest"] = object_of(joined({{"model", text()},
                                             {"prompt", text(), "Either this or messages"},
                                             {"return_token_strs", flag()}},
                                            chat));
  out["DetokenizeRequest"] =
      object_of({{"model", text()}, {"tokens", list_of(token_id()), "", true}});
}

// What OpenAI's answers begin with. `about`: of their object.
std::vector<Field> answer_head(const char* about) {
  return {{"id", text(), "", true},
          {"object", text(), about, true},
          {"created", count(), "Seconds since 1970", true},
          {"model", text(), "", true},
          {"usage", reference("Usage"), "", true}};
}

std::vector<Field> pooling_fields() {
  return {
      {"model", text(), "One of the served names; left out: the model"},
      {"truncate_prompt_tokens", integer(-1, INT32_MAX), "Keep so many; -1: as many as fit"},
      {"truncation_side", text(), "right: keep the beginning; left: keep the end"},
      {"use_activation", flag(), "Normalize an embedding, or put scores through the activation"},
      {"normalize", flag(), "The older name of use_activation"},
      {"priority", integer(-1000000, 1000000), "Lower goes first"},
      {"cache_salt", text(), "Prefixes are shared under the same salt alone"}};
}

std::vector<Field> pooling_inputs() {
  const Json ids = list_of(token_id(), 1);
  std::vector<Field> out =
      without(conversation_fields(),
              {"tool_choice", "parallel_tool_calls", "include_reasoning", "separate_reasoning"});
  out.front().is_required = false;
  out.insert(
      out.begin(),
      Field{
          "input",
          one_of(Json::array({text(), ids, list_of(one_of(Json::array({text(), ids})), 1, 2048)})),
          "A text, token ids, or a list of either; or messages"});
  return joined(pooling_fields(), out);
}

void add_pooling(Json& out) {
  const Json document = one_of(Json::array({text(), object_of({{"text", text(), "", true}})}));
  const Json texts = one_of(Json::array({text(), list_of(document, 1, 2048)}));
  out["EmbeddingRequest"] = object_of(
      joined(pooling_inputs(),
             {{"dimensions", integer(1, 1 << 24), "Only of models that were trained for it"},
              {"encoding_format", text(), "float or base64 (float32, little-endian)"},
              {"embed_dtype", text(), "float32"},
              {"endianness", text(), "little"}}));
  out["ClassifyRequest"] = object_of(pooling_inputs());
  out["ScoreRequest"] = object_of(joined(pooling_fields(),
                                         {{"text_1", texts, "One, or as many as text_2"},
                                          {"text_2", texts},
                                          {"queries", texts, "Another name of text_1"},
                                          {"documents", texts, "Another name of text_2"},
                                          {"items", texts, "Another name of text_2"},
                                          {"data_1", texts, "Another name of text_1"},
                                          {"data_2", texts, "Another name of text_2"}}));
  out["RerankRequest"] = object_of(joined(pooling_fields(),
                                          {{"query", document, "", true},
                                           {"documents", texts, "", true},
                                           {"top_n", integer(0, INT32_MAX), "0: all"},
                                           {"return_documents", flag()}}));
  const std::vector<Field> head = answer_head("list");
  const auto answer = [&](const char* name, const std::vector<Field>& item) {
    out[name] = object_of(joined(head, {{"data", list_of(object_of(item)), "", true}}));
  };
  const Json values = list_of(typed("number"));
  answer("EmbeddingAnswer",
         {{"index", count(), "", true},
          {"object", text(), "embedding", true},
          {"embedding", one_of(Json::array({values, text()})), "", true}});
  answer("ClassifyAnswer",
         {{"index", count(), "", true},
          {"label", text(), "The likeliest class", true},
          {"probs", values, "", true},
          {"num_classes", count(), "", true}});
  answer("ScoreAnswer",
         {{"index", count(), "", true},
          {"object", text(), "score", true},
          {"score", typed("number"), "", true}});
  out["RerankAnswer"] = object_of(
      {{"id", text(), "", true},
       {"model", text(), "", true},
       {"usage",
        object_of({{"prompt_tokens", count(), "", true}, {"total_tokens", count(), "", true}}),
        "",
        true},
       {"results",
        list_of(object_of({{"index", count(), "In the request", true},
                           {"relevance_score", typed("number"), "", true},
                           {"document", object_of({{"text", text(), "", true}})}})),
        "Best first",
        true}});
}

void add_answers(Json& out) {
  out["Usage"] = object_of({{"prompt_tokens", count(), "", true},
                            {"completion_tokens", count(), "Of all choices", true},
                            {"total_tokens", count(), "", true},
                            {"prompt_tokens_details", object_of({{"cached_tokens", count()}})}});
  const std::vector<Field> head = answer_head("");
  const std::vector<Field> ending = {
      {"index", count(), "", true},
      {"logprobs", typed("object")},
      {"finish_reason", text(), "stop, length, …", true},
      {"stop_reason", one_of(Json::array({text(), token_id()})), "The string or id that ended it"},
      {"token_ids", list_of(token_id())},
      {"prompt_token_ids", list_of(token_id())}};
  out["ChatAnswer"] = object_of(
      joined(head,
             {{"choices",
               list_of(object_of(joined(ending,
                                        {{"message",
                                          object_of({{"role", text(), "", true},
                                                     {"content", text()},
                                                     {"reasoning", text()},
                                                     {"reasoning_content", text()},
                                                     {"tool_calls", list_of(typed("object"))}}),
                                          "",
                                          true}}))),
               "",
               true},
              {"prompt_token_ids", list_of(token_id())}}));
  out["CompletionAnswer"] = object_of(joined(
      head,
      {{"choices", list_of(object_of(joined(ending, {{"text", text(), "", true}}))), "", true}}));
  out["TokenizeAnswer"] = object_of({{"count", count(), "", true},
                                     {"max_model_len", count(), "", true},
                                     {"tokens", list_of(token_id()), "", true},
                                     {"token_strs", list_of(text())}});
  out["DetokenizeAnswer"] = object_of({{"prompt", text(), "", true}});
}

void add_information(Json& out) {
  out["Error"] = object_of({{"error",
                             object_of({{"message", text(), "What is wrong, and what to do", true},
                                        {"type", text(), "", true},
                                        {"param", text(), "The field"},
                                        {"code", text()}}),
                             "",
                             true}});
  out["Health"] = object_of({{"status", text(), "ok or recovering", true}, {"epoch", count()}});
  out["Version"] = object_of({{"version", text(), "", true}});
  out["Load"] = object_of({{"server_load", count(), "Running and waiting", true},
                           {"running", count(), "", true},
                           {"waiting", count(), "", true}});
  const Json object = typed("object");
  out["Engine"] = object_of({{"version", text(), "", true},
                             {"models", list_of(text()), "", true},
                             {"max_model_len", count(), "", true},
                             {"is_healthy", flag(), "", true},
                             {"is_recovering", flag(), "", true},
                             {"is_stalled", flag(), "", true},
                             {"requests", object, "", true},
                             {"kv_cache", object, "", true},
                             {"prefix_cache", object, "", true},
                             {"tokens", object, "Since the start", true},
                             {"engine", object, "", true},
                             {"workers", list_of(object), "Processes, by rank", true},
                             {"plan", object, "As quern plan --json says it"}});
  out["ServerInfo"] = object_of({{"version", text(), "", true},
                                 {"models", list_of(text()), "", true},
                                 {"root", text(), "", true},
                                 {"max_model_len", count(), "", true},
                                 {"kv_cache", typed("object"), "", true},
                                 {"engine", typed("object"), "", true}});
  out["OpenApi"] = object_of({{"openapi", text(), "", true}, {"paths", typed("object"), "", true}});
  out["Model"] = object_of({{"id", text(), "", true},
                            {"object", text(), "", true},
                            {"created", count(), "", true},
                            {"owned_by", text(), "", true},
                            {"root", text()},
                            {"parent", text()},
                            {"max_model_len", count()},
                            {"input_modalities", list_of(text()), "text, and what else it reads"},
                            {"tasks",
                             list_of({{"enum",
                                       Json::array({"generate",
                                                    "transcription",
                                                    "speech",
                                                    "embed",
                                                    "classify"})}}),
                             "What it answers with"}});
  out["ModelList"] =
      object_of({{"object", text(), "", true}, {"data", list_of(reference("Model")), "", true}});
}

}  // namespace

Json openapi_schemas() {
  Json out = Json::object();
  add_requests(out);
  add_answers(out);
  add_pooling(out);
  add_information(out);
  add_dialects(out, sampling_fields());
  add_speech(out);
  return out;
}

}  // namespace quern
