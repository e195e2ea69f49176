// SPDX-License-Identifier: Apache-2.0
// The table of routes and fields is held against what the program really has.
#include "server/openapi.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "api/chat_request.h"
#include "api/completion_request.h"
#include "api/field_notes.h"
#include "api/messages_request.h"
#include "api/pooling_request.h"
#include "api/responses_request.h"
#include "api/scripted_service.h"
#include "api/speech/speech_request.h"
#include "server/api_server.h"

namespace quern {
namespace {

std::vector<std::string> routes() {
  static ScriptedService service;
  static const MonotonicClock clock;
  return ApiServer({}, service, {}, clock, {}).routes();
}

TEST(OpenApi, DescribesEveryRouteAndNoOther) {
  std::set<std::string> described, served;
  for (const RouteDescription& route : route_descriptions())
    described.insert(std::string(route.method) + " " + route.pattern);
  for (const std::string& route : routes()) served.insert(route);
  EXPECT_EQ(described, served) << "openapi.cc has a row for each route";
}

TEST(OpenApi, RefersToSchemasThatExist) {
  const Json document = parse_json(openapi_document("1.2.3"), "document");
  const std::string text = document.dump();
  const std::string_view mark = "\"$ref\":\"#/components/schemas/";
  size_t references = 0;
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const size_t begin = at + mark.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    EXPECT_TRUE(document["components"]["schemas"].contains(name)) << name;
    ++references;
  }
  EXPECT_GT(references, 20u);
  EXPECT_EQ(document["info"]["version"], "1.2.3");
  EXPECT_EQ(document["paths"]["/v1/models/{name}"]["get"]["parameters"][0]["name"], "name");
}

// Every field that a reader asks for has a place in the schema of its request.
void expect_described(const char* schema, const std::vector<std::string>& asked) {
  const Json properties = openapi_schemas()[schema]["properties"];
  EXPECT_GT(asked.size(), 2u) << schema;
  for (const std::string& name : asked)
    EXPECT_TRUE(name.find('.') != std::string::npos || properties.contains(name))
        << schema << " lacks " << name;
}

TEST(OpenApi, DescribesTheFieldsThatAreRead) {
  const Json chat = parse_json(R"({"messages": [{"role": "user", "content": "x"}]})", "chat");
  const Json prompt = parse_json(R"({"prompt": "x"})", "prompt");
  const Json tokens = parse_json(R"({"tokens": [1]})", "tokens");
  {
    const FieldNotes notes;
    ChatRequest::parse(chat);
    expect_described("ChatRequest", notes.names());
  }
  {
    const FieldNotes notes;
    CompletionRequest::parse(prompt);
    expect_described("CompletionRequest", notes.names());
  }
  {
    const FieldNotes notes;
    TokenizeRequest::parse(chat);
    TokenizeRequest::parse(prompt);
    expect_described("TokenizeRequest", notes.names());
  }
  const auto expect_read = [](const char* schema, const auto& parse, const char* body) {
    const FieldNotes notes;
    parse(parse_json(body, schema));
    expect_described(schema, notes.names());
  };
  const char* messages = R"({"messages": [{"role": "user", "content": "x"}]})";
  for (const char* body : {R"({"input": "x"})", messages}) {
    expect_read(
        "EmbeddingRequest", [](const Json& j) { EmbeddingRequest::parse(j); }, body);
    expect_read(
        "ClassifyRequest", [](const Json& j) { ClassifyRequest::parse(j); }, body);
  }
  expect_read(
      "ScoreRequest",
      [](const Json& j) { ScoreRequest::parse(j); },
      R"({"text_1": "a", "text_2": "b"})");
  expect_read(
      "RerankRequest",
      [](const Json& j) { RerankRequest::parse(j); },
      R"({"query": "a", "documents": ["b"]})");
  expect_read(
      "SpeechRequest", [](const Json& j) { SpeechRequest::parse(j); }, R"({"input": "x"})");
  {
    const FieldNotes notes;
    ResponsesRequest::parse(parse_json(R"({"input": "x"})", "response"), nullptr, "");
    expect_described("ResponsesRequest", notes.names());
  }
  {
    const FieldNotes notes;
    const Json message = parse_json(
        R"({"max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})", "message");
    chat_of_messages(message, false);
    expect_described("MessagesRequest", notes.names());
  }
  {
    const FieldNotes notes;
    DetokenizeRequest::parse(tokens);
    EXPECT_EQ(notes.names(), (std::vector<std::string>{"model", "tokens"}));
    EXPECT_TRUE(openapi_schemas()["DetokenizeRequest"]["properties"].contains("tokens"));
  }
}

}  // namespace
}  // namespace quern
