// SPDX-License-Identifier: Apache-2.0
#include "api/batch_line.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/dialect_jobs.h"
#include "api/random_id.h"
#include "api/translated_chat.h"
#include "base/json.h"

namespace quern {
namespace {

constexpr size_t kMaxId = 512;
// No custom_id holds it, so a bad line's key is nobody else's.
constexpr char kKeyMark = '\n';

template <typename Job>
struct Route {
  std::string_view url;
  Job (*make)(const Json&, const JobContext&);
};

constexpr Route<GenerationJob> kTextRoutes[] = {{"/v1/chat/completions", chat_job},
                                                {"/v1/completions", completion_job},
                                                {"/v1/responses", responses_job},
                                                {"/v1/messages", messages_job}};
constexpr Route<PoolingJob> kPoolingRoutes[] = {{"/v1/embeddings", embedding_job},
                                                {"/classify", classify_job},
                                                {"/score", score_job},
                                                {"/v1/score", score_job},
                                                {"/rerank", rerank_job},
                                                {"/v1/rerank", rerank_job},
                                                {"/v2/rerank", rerank_job}};

std::string known_urls() {
  std::string out;
  for (const auto& route : kTextRoutes) out += format("{}, ", route.url);
  for (const auto& route : kPoolingRoutes) out += format("{}, ", route.url);
  return out.substr(0, out.size() - 2);
}

Json error_json(const ApiError& error) {
  return {{"code", error.code.empty() ? error.type : error.code}, {"message", error.message}};
}

Json envelope(Json custom_id) {
  Json out = Json::object();
  out["id"] = random_id("batch_req_");
  out["custom_id"] = std::move(custom_id);
  return out;
}

}  // namespace

BatchLine BatchLine::parse(std::string_view text) {
  const Json line = parse_json(text, "line");
  FieldReader fields(line);
  BatchLine out;
  out.custom_id = required_string(fields, "custom_id");
  if (out.custom_id.empty() || out.custom_id.size() > kMaxId ||
      out.custom_id.find(kKeyMark) != std::string::npos)
    fail_field("custom_id", "custom_id: expected 1 to {} bytes on one line", kMaxId);
  if (const std::string method = fields.string("method").value_or("POST"); method != "POST")
    fail_field("method", "method: expected POST, got {}", method.substr(0, 32));
  out.url = required_string(fields, "url");
  const Json* body = fields.find("body");
  if (!body || !body->is_object())
    fail_field(
        "body", "body: expected an object, got {}", body ? json_type_name(*body) : "nothing");
  out.body = std::make_shared<const Json>(*body);
  return out;
}

std::string custom_id_of(std::string_view text) {
  try {
    const Json line = parse_json(text, "line");
    const auto id = line.is_object() ? line.find("custom_id") : line.end();
    if (!line.is_object() || id == line.end() || !id->is_string()) return {};
    const std::string& name = id->get_ref<const std::string&>();
    return name.find(kKeyMark) == std::string::npos ? name : std::string();
  } catch (const Error&) {
    return {};
  }
}

BatchJob batch_job(const BatchLine& line, const JobContext& context) {
  for (const auto& [url, make] : kPoolingRoutes)
    if (line.url == url) {
      check_pools(context.service.info());
      return make(*line.body, context);
    }
  const auto* route = std::ranges::find(kTextRoutes, line.url, &Route<GenerationJob>::url);
  if (route == std::end(kTextRoutes)) fail_type("url", line.url, known_urls());
  check_generates(context.service.info());
  GenerationJob job = route->make(*line.body, context);
  if (job.stream) fail_field("stream", "stream: a batch has whole answers only; leave it out");
  return job;
}

std::string batch_answer(const std::string& custom_id,
                         const std::string& request_id,
                         const std::string& body) {
  // The body goes in as it is: it may be long, and is JSON already.
  std::string out = json_text(envelope(custom_id));
  out.pop_back();
  return out + R"(,"response":{"status_code":200,"request_id":)" + json_text(request_id) +
         R"(,"body":)" + body + R"(},"error":null})";
}

std::string batch_failure(const std::string& custom_id,
                          const std::string& request_id,
                          const ApiError& error) {
  Json out = envelope(custom_id);
  out["response"] = {{"status_code", error.status},
                     {"request_id", request_id},
                     {"body", parse_json(to_json(error), "error")}};
  out["error"] = error_json(error);
  return json_text(out);
}

std::string batch_bad_line(const std::string& custom_id, int64_t number, const ApiError& error) {
  Json out = envelope(custom_id.empty() ? Json(nullptr) : Json(custom_id));
  out["response"] = nullptr;
  out["error"] = error_json(error);
  out["error"]["line"] = number;
  return json_text(out);
}

std::string batch_key(std::string_view output_line) {
  try {
    const Json line = parse_json(output_line, "line");
    if (!line.is_object() || !line.contains("custom_id") || !line.contains("error")) return {};
    if (line["custom_id"].is_string()) return line["custom_id"].get<std::string>();
    return bad_line_key(line.at("error").at("line").get<int64_t>());
  } catch (const std::exception&) {
    return {};
  }
}

std::string bad_line_key(int64_t number) {
  return format("{}line {}", kKeyMark, number);
}

}  // namespace quern
