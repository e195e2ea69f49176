// SPDX-License-Identifier: Apache-2.0
#include "agent/api_client.h"

#include <curl/curl.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern::agent {
namespace {

constexpr size_t kMostBytes = size_t{16} << 20;  // of an answer
constexpr int kUnauthorized = 401, kTooMany = 429, kTimeout = 408;

struct CurlCleanUp {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, CurlCleanUp>;
using Headers = std::unique_ptr<curl_slist, CurlCleanUp>;

Headers headers_of(const Endpoint& endpoint) {
  curl_slist* list = curl_slist_append(nullptr, "Content-Type: application/json");
  list = curl_slist_append(list, "Expect:");  // no question before a long body
  if (!endpoint.api_key.empty())
    list = curl_slist_append(list, ("Authorization: Bearer " + endpoint.api_key).c_str());
  return Headers(list);
}

size_t append_answer(char* data, size_t size, size_t count, void* user) {
  auto& body = *static_cast<std::string*>(user);
  if (body.size() + size * count > kMostBytes) return 0;
  body.append(data, size * count);
  return size * count;
}

int ask_whether_to_stop(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* stop = static_cast<const std::atomic<bool>*>(user);
  return stop != nullptr && stop->load() ? 1 : 0;
}

// What a server says of an error, in OpenAI's form or in its own.
std::string said_in(const std::string& body) {
  constexpr size_t kMostText = 500;
  try {
    const Json json = parse_json(body, "answer");
    const Json* at = json.is_object() && json.contains("error") ? &json.at("error") : &json;
    if (at->is_object() && at->contains("message") && at->at("message").is_string())
      return ": " + at->at("message").get<std::string>();
  } catch (const Error&) {  // a page of a proxy, say: shown as it is
  }
  return body.empty() ? body : ": " + body.substr(0, kMostText);
}

ErrorCode code_of(long status) {
  const bool is_ours = status >= 400 && status < 500 && status != kTooMany && status != kTimeout;
  return is_ours ? ErrorCode::invalid_argument : ErrorCode::unavailable;
}

Easy open_handle(const std::string& url, const Headers& headers, const CallLimits& limits) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  Easy easy(ready == CURLE_OK ? curl_easy_init() : nullptr);
  if (!easy) fail(ErrorCode::exhausted, "no more memory for a connection");
  constexpr long kConnectS = 30;
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_CONNECTTIMEOUT, kConnectS);
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT, static_cast<long>(limits.timeout_s));
  curl_easy_setopt(easy.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy.get(), CURLOPT_XFERINFOFUNCTION, ask_whether_to_stop);
  curl_easy_setopt(easy.get(), CURLOPT_XFERINFODATA, const_cast<std::atomic<bool>*>(limits.stop));
  return easy;
}

Json answer_of(const Easy& easy, const std::string& url) {
  std::string body;
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, append_answer);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &body);
  const CURLcode code = curl_easy_perform(easy.get());
  if (code == CURLE_ABORTED_BY_CALLBACK) fail(ErrorCode::cancelled, "interrupted");
  if (code == CURLE_OPERATION_TIMEDOUT)
    fail(ErrorCode::unavailable, "{}: no answer in time ({})", url, curl_easy_strerror(code));
  if (code != CURLE_OK)
    fail(ErrorCode::unavailable,
         "{}: {}; is a server running there? Start one with quern serve MODEL --port N",
         url,
         curl_easy_strerror(code));
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != 200)
    fail(code_of(status),
         "{}: HTTP {}{}",
         url,
         status,
         status == kUnauthorized ? ": the server wants its --api-key" : said_in(body));
  return parse_json(body, url);
}

}  // namespace

Json get_json(const Endpoint& endpoint, const std::string& path, const CallLimits& limits) {
  const Headers headers = headers_of(endpoint);
  const std::string url = endpoint.base_url + path;
  return answer_of(open_handle(url, headers, limits), url);
}

Json post_json(const Endpoint& endpoint,
               const std::string& path,
               const std::string& body,
               const CallLimits& limits) {
  const Headers headers = headers_of(endpoint);
  const std::string url = endpoint.base_url + path;
  const Easy easy = open_handle(url, headers, limits);
  curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, body.c_str());
  return answer_of(easy, url);
}

ServedModel find_served(const Endpoint& endpoint,
                        const std::string& wanted,
                        const std::string& path,
                        const CallLimits& limits) {
  const Json models = get_json(endpoint, path, limits);
  const Json* found = nullptr;
  if (models.is_object() && models.contains("data") && models.at("data").is_array())
    for (const Json& model : models.at("data"))
      if (model.is_object() && model.contains("id") && model.at("id").is_string() &&
          (found == nullptr || model.at("id") == wanted))
        found = &model;
  if (found == nullptr)
    fail(ErrorCode::unavailable,
         "{}{} lists no model: is this an OpenAI server?",
         endpoint.base_url,
         path);
  ServedModel out{.id = found->at("id").get<std::string>(), .root = {}};
  if (found->contains("root") && found->at("root").is_string())
    out.root = found->at("root").get<std::string>();
  if (found->contains("max_model_len") && found->at("max_model_len").is_number_integer())
    out.max_model_len = found->at("max_model_len").get<int64_t>();
  return out;
}

}  // namespace quern::agent
