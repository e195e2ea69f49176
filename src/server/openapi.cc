// SPDX-License-Identifier: Apache-2.0
#include "server/openapi.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/http_types.h"

namespace quern {
namespace {

constexpr const char* kChunks = "Chunks of the answer in events, the last of them `[DONE]`";

constexpr const char* kTranscriptEvents =
    "Events transcript.text.delta, then transcript.text.done and `[DONE]`";

constexpr RouteDescription kRoutes[] = {
    {"GET",
     "/health",
     "200 while the engine works, also while lost workers are replaced",
     nullptr,
     "Health"},
    {"GET", "/ping", "The same as /health", nullptr, "Health"},
    {"GET", "/ready", "200 only if a request that came now would be worked on", nullptr, "Health"},
    {"GET", "/version", "The version of the program", nullptr, "Version"},
    {"GET", "/", "The playground", nullptr, nullptr},
    {"GET", "/ui/{file}", "What it consists of", nullptr, nullptr},
    {"GET", "/load", "Requests under way", nullptr, "Load"},
    {"GET", "/v1/engine", "What the engine does, and what each rank holds", nullptr, "Engine"},
    {"GET", "/server_info", "The model, its cache and the server's limits", nullptr, "ServerInfo"},
    {"GET", "/metrics", "Prometheus metrics", nullptr, nullptr},
    {"GET", "/openapi.json", "This document", nullptr, "OpenApi"},
    {"GET", "/v1/models", "The names the model is served under", nullptr, "ModelList"},
    {"GET", "/v1/models/{name}*", "One of them", nullptr, "Model"},
    {"POST",
     "/v1/chat/completions",
     "Answers a conversation",
     "ChatRequest",
     "ChatAnswer",
     kChunks},
    {"POST",
     "/v1/completions",
     "Continues texts",
     "CompletionRequest",
     "CompletionAnswer",
     kChunks},
    {"POST", "/v1/chat/completions/render", "Its exact prompt", "ChatRequest", "RenderedPrompts"},
    {"POST", "/v1/completions/render", "Its exact prompts", "CompletionRequest", "RenderedPrompts"},
    {"POST",
     "/v1/responses",
     "Answers in items; kept unless store is false",
     "ResponsesRequest",
     "Response",
     "Events response.created to response.completed, each with its name and a sequence_number"},
    {"POST", "/v1/responses/render", "Its exact prompt", "ResponsesRequest", "RenderedPrompts"},
    {"GET", "/v1/responses/{id}", "A response that is kept", nullptr, "Response"},
    {"DELETE", "/v1/responses/{id}", "Forgets it", nullptr, "ResponseDeleted"},
    {"GET", "/v1/responses/{id}/input_items", "What it answered", nullptr, "ResponseItemList"},
    {"POST",
     "/v1/responses/{id}/cancel",
     "Always refused: nothing runs in the background",
     nullptr,
     "Response"},
    {"POST",
     "/v1/messages",
     "Anthropic's messages",
     "MessagesRequest",
     "MessagesAnswer",
     "Events message_start to message_stop, as Anthropic's",
     "MessagesError"},
    {"POST",
     "/v1/messages/render",
     "Its exact prompt",
     "MessagesRequest",
     "RenderedPrompts",
     nullptr,
     "MessagesError"},
    {"POST",
     "/v1/messages/count_tokens",
     "Tokens of its prompt",
     "CountTokensRequest",
     "TokenCount",
     nullptr,
     "MessagesError"},
    {"POST", "/v1/embeddings", "A vector for each input", "EmbeddingRequest", "EmbeddingAnswer"},
    {"POST", "/classify", "Probabilities of classes", "ClassifyRequest", "ClassifyAnswer"},
    {"POST", "/score", "How alike the texts of pairs are", "ScoreRequest", "ScoreAnswer"},
    {"POST", "/v1/score", "The same as /score", "ScoreRequest", "ScoreAnswer"},
    {"POST", "/rerank", "Documents in the order of a query", "RerankRequest", "RerankAnswer"},
    {"POST", "/v1/rerank", "The same as /rerank", "RerankRequest", "RerankAnswer"},
    {"POST", "/v2/rerank", "The same as /rerank", "RerankRequest", "RerankAnswer"},
    {"POST",
     "/v1/audio/transcriptions",
     "Writes a recording down",
     "TranscriptionForm",
     "Transcript",
     kTranscriptEvents,
     "Error",
     true},
    {"POST",
     "/v1/audio/translations",
     "Writes it down in English",
     "TranslationForm",
     "Transcript",
     kTranscriptEvents,
     "Error",
     true},
    {"POST",
     "/v1/audio/speech",
     "Says a text",
     "SpeechRequest",
     nullptr,
     "With stream_format sse: events speech.audio.delta, then speech.audio.done"},
    {"GET", "/v1/audio/voices", "The names of its voices", nullptr, "VoiceList"},
    {"GET", "/tokenizer_info", "What the tokenizer is", nullptr, "TokenizerInfo"},
    {"POST",
     "/tokenize",
     "The token ids of a text or a conversation",
     "TokenizeRequest",
     "TokenizeAnswer"},
    {"POST", "/detokenize", "The text of token ids", "DetokenizeRequest", "DetokenizeAnswer"},
};

struct QueryParameter {
  const char* pattern;  // of the route
  const char* name;
  const char* about;
  const char* schema;  // JSON
};
constexpr const char* kInputItems = "/v1/responses/{id}/input_items";
constexpr QueryParameter kQuery[] = {
    {kInputItems, "limit", "Items of a page", R"({"type":"integer","minimum":1,"maximum":100})"},
    {kInputItems, "order", "The newest first unless asc", R"({"enum":["asc","desc"]})"},
    {kInputItems, "after", "The id of the item before the page", R"({"type":"string"})"},
};

struct Failure {
  const char* status;
  const char* about;
};
constexpr Failure kFailures[] = {
    {"400", "The request is wrong; `error.param` names the field"},
    {"401", "A key is needed"},
    {"403", "The key does not open this route, or the Host or Origin is foreign"},
    {"404", "No such path or model"},
    {"405", "The path takes other methods; `Allow` lists them"},
    {"408", "The request did not arrive in time"},
    {"413", "The body is too large"},
    {"415", "The body must be application/json"},
    {"429", "The queue is full, or the key has as many requests running as it may; `Retry-After`"},
    {"431", "The head of the request is too large"},
    {"500", "The server failed on this request"},
    {"503", "The engine cannot take requests at present; `Retry-After`"}};

Json reference(const char* schema) {
  return {{"$ref", std::string("#/components/schemas/") + schema}};
}

Json json_content(const char* schema) {
  return {{"application/json", {{"schema", reference(schema)}}}};
}

const char* text_type(const RouteDescription& route) {
  const std::string_view pattern = route.pattern;
  if (pattern == "/v1/audio/speech") return "audio/*";
  return pattern == "/" ? "text/html" : pattern == "/ui/{file}" ? "*/*" : "text/plain";
}

Json answers_of(const RouteDescription& route) {
  Json success = {{"description", "The answer"}};
  success["content"] = route.response
                           ? json_content(route.response)
                           : Json{{text_type(route), {{"schema", {{"type", "string"}}}}}};
  if (route.takes_form)
    for (const char* type : {"text/plain", "text/vtt"})
      success["content"][type] = {{"schema", {{"type", "string"}}}};
  if (route.events)
    success["content"]["text/event-stream"] = {
        {"schema", {{"type", "string"}, {"description", route.events}}}};
  Json out = {{"200", std::move(success)}};
  for (const Failure& failure : kFailures)
    out[failure.status] = {{"description", failure.about},
                           {"content", json_content(route.failure)}};
  // Probes: the body says what is the matter, in the same form as that of 200.
  if (route.response && std::string_view(route.response) == "Health")
    out["503"]["content"]["application/json"]["schema"] = {
        {"anyOf", Json::array({reference("Error"), reference("Health")})}};
  return out;
}

Json operation_of(const RouteDescription& route) {
  Json out = {{"summary", route.summary}, {"responses", answers_of(route)}};
  std::string id = to_lower(route.method) + std::string(route.pattern);
  std::replace_if(
      id.begin(), id.end(), [](char c) { return c == '/' || c == '.'; }, '_');
  id.erase(
      std::remove_if(id.begin(), id.end(), [](char c) { return c == '{' || c == '}' || c == '*'; }),
      id.end());
  out["operationId"] = id;
  if (route.takes_form)
    out["requestBody"] = {
        {"required", true},
        {"content", {{"multipart/form-data", {{"schema", reference(route.request)}}}}}};
  else if (route.request)
    out["requestBody"] = {{"required", true}, {"content", json_content(route.request)}};
  return out;
}

// "/v1/models/{name}*" → "/v1/models/{name}"; the names between braces become parameters.
std::string path_of(const RouteDescription& route, Json& parameters) {
  std::string path = route.pattern;
  if (path.ends_with('*')) path.pop_back();
  for (size_t at = path.find('{'); at != std::string::npos; at = path.find('{', at + 1))
    parameters.push_back({{"name", path.substr(at + 1, path.find('}', at) - at - 1)},
                          {"in", "path"},
                          {"required", true},
                          {"schema", {{"type", "string"}, {"minLength", 1}}}});
  return path;
}

void add_query(const RouteDescription& route, Json& parameters) {
  for (const QueryParameter& p : kQuery)
    if (std::string_view(p.pattern) == route.pattern)
      parameters.push_back({{"name", p.name},
                            {"in", "query"},
                            {"description", p.about},
                            {"schema", parse_json(p.schema, p.name)}});
}

bool is_open(std::string_view pattern) {
  for (const char* open : {"/", "/ui/{file}", "/health", "/ping", "/ready", "/version"})
    if (pattern == open) return true;
  return false;
}

}  // namespace

std::span<const RouteDescription> route_descriptions() {
  return kRoutes;
}

const RouteDescription* description_of(std::string_view method, std::string_view pattern) {
  for (const RouteDescription& route : kRoutes)
    if (method == route.method && pattern == route.pattern) return &route;
  return nullptr;
}

std::string openapi_document(const std::string& version) {
  Json document = {{"openapi", "3.1.0"},
                   {"info",
                    {{"title", "quern"},
                     {"version", version},
                     {"description", "OpenAI's API and what operators need, for one model"}}}};
  Json& paths = document["paths"] = Json::object();
  for (const RouteDescription& route : kRoutes) {
    Json parameters = Json::array();
    const std::string path = path_of(route, parameters);
    Json operation = operation_of(route);
    add_query(route, parameters);
    if (!parameters.empty()) operation["parameters"] = std::move(parameters);
    if (is_open(route.pattern)) operation["security"] = Json::array();
    paths[path][to_lower(route.method)] = std::move(operation);
  }
  document["security"] = Json::array({Json{{"key", Json::array()}}, Json::object()});
  document["components"] = {
      {"schemas", openapi_schemas()},
      {"securitySchemes",
       {{"key",
         {{"type", "http"}, {"scheme", "bearer"}, {"description", "Where --api-key is set"}}}}}};
  return document.dump();
}

}  // namespace quern
