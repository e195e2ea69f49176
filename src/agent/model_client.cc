// SPDX-License-Identifier: Apache-2.0
#include "agent/model_client.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern::agent {
namespace {

const Json* inner(const Json* object, const char* key) {
  if (object == nullptr || !object->is_object()) return nullptr;
  const auto it = object->find(key);
  return it == object->end() || it->is_null() ? nullptr : &*it;
}

std::string string_in(const Json* object, const char* key) {
  const Json* value = inner(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

}  // namespace

std::string openai_base_url(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos)
    fail(ErrorCode::invalid_argument, "--base-url {}: expected http://HOST:PORT/v1", url);
  return url.find('/', scheme + 3) == std::string::npos ? url + "/v1" : url;
}

ModelAnswer answer_in(const Json& completion) {
  const Json* choices = inner(&completion, "choices");
  const Json* choice =
      choices != nullptr && choices->is_array() && !choices->empty() ? &choices->front() : nullptr;
  const Json* message = inner(choice, "message");
  if (message == nullptr)
    fail(ErrorCode::unavailable, "the server's answer has no message: is it an OpenAI server?");
  ModelAnswer out{.content = string_in(message, "content"),
                  .reasoning = string_in(message, "reasoning_content"),
                  .calls = {}};
  if (out.reasoning.empty()) out.reasoning = string_in(message, "reasoning");
  if (const Json* calls = inner(message, "tool_calls"); calls != nullptr && calls->is_array())
    for (const Json& call : *calls) {
      const Json* function = inner(&call, "function");
      out.calls.push_back(
          {.name = string_in(function, "name"), .arguments = string_in(function, "arguments")});
    }
  return out;
}

ModelAnswer ask_model(const Endpoint& endpoint,
                      const Json& request,
                      const AskOptions& options,
                      const Pause& pause) {
  constexpr int64_t kPauseMs = 500;
  std::string body = json_text(request);
  if (options.constrains) {  // a member more, without a copy of the picture
    body.pop_back();
    body += R"(,"structured_outputs":{"preset":"autoglm"}})";
  }
  for (int tries = 0;; ++tries) {
    try {
      return answer_in(post_json(endpoint, "/chat/completions", body, options.limits));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unavailable || tries == options.retries) throw;
    }
    pause(kPauseMs << tries);
  }
}

}  // namespace quern::agent
