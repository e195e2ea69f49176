// SPDX-License-Identifier: Apache-2.0
#include "server/api_handler.h"

#include <optional>

#include "base/log.h"

namespace quern {
namespace {

std::unique_ptr<HttpResponse> refusal(int status,
                                      std::string message,
                                      std::string code,
                                      Headers headers = {}) {
  auto response =
      std::make_unique<HttpResponse>(error_response(status, std::move(message), std::move(code)));
  response->headers.insert(response->headers.end(), headers.begin(), headers.end());
  return response;
}

bool is_json(std::string_view content_type) {
  const std::string type = to_lower(content_type.substr(0, content_type.find(';')));
  const std::string_view trimmed = std::string_view(type).substr(0, type.find_last_not_of(' ') + 1);
  return trimmed == "application/json" || trimmed.ends_with("+json");
}

// What servers of this kind often have and this one does not: "nothing is there" alone would be
// taken for a wrong address.
std::string why_nothing_is_at(std::string_view path) {
  struct Missing {
    std::string_view name, reason;
  };
  static constexpr Missing kMissing[] = {
      {"/embeddings", "send it to /v1/embeddings"},
      {"/embed", "send it to /v1/embeddings"},
      {"/pooling", "vectors of prompts are at /v1/embeddings, classes at /classify"},
      {"/audio/transcriptions", "send it to /v1/audio/transcriptions"},
      {"/audio/translations", "send it to /v1/audio/translations"},
      {"/audio/speech", "this version answers in text only"},
      {"/batches", "run a file of requests with: quern run-batch -i IN -o OUT MODEL"},
  };
  const std::string_view bare = path.starts_with("/v1/") ? path.substr(3) : path;
  for (const Missing& each : kMissing)
    if (bare == each.name) return format("{} is not served: {}", printable(path, 200), each.reason);
  return format("there is nothing at {}", printable(path, 200));
}

HttpResponse options_response(const std::string& allowed) {
  HttpResponse response;
  response.headers = {{"Allow", allowed + ", OPTIONS"}};
  return response;
}

// An error in the words of the dialect whose route was asked.
void put_in_dialect(HttpResponse& response, const Router::Entry* entry) {
  if (entry && response.error) response.body = entry->options.error_body(*response.error);
}

}  // namespace

ApiHandler::ApiHandler(const Router& router, Access access, Metrics& metrics, bool logs_requests)
    : router_(router),
      access_(std::move(access)),
      metrics_(metrics),
      logs_requests_(logs_requests) {}

std::unique_ptr<HttpResponse> ApiHandler::refuse(const HttpRequest& head) {
  // Browsers send no key with this question.
  if (auto answer = access_.origins.preflight(head)) return answer;
  const Router::Match match = router_.match(head.method, head.path);
  auto refusal = refusal_of(head, match);
  if (refusal) put_in_dialect(*refusal, match.entry);
  return refusal;
}

Headers ApiHandler::answer_headers(const HttpRequest& request) const {
  return access_.origins.headers(request);
}

std::unique_ptr<HttpResponse> ApiHandler::refuse_by_key(const HttpRequest& head,
                                                        Scope scope) const {
  if (!access_.keys.is_required()) return nullptr;
  const ApiKeys::Holder* holder = access_.keys.find(head);
  if (!holder)
    return refusal(401,
                   "a valid API key is needed: send \"Authorization: Bearer KEY\"",
                   "invalid_api_key",
                   {{"WWW-Authenticate", "Bearer"}});
  if (!holder->may(scope))
    return refusal(403,
                   format("this API key does not open {}: it lacks the scope {}",
                          printable(head.path, 200),
                          name_of(scope)),
                   "insufficient_scope");
  return nullptr;
}

std::unique_ptr<HttpResponse> ApiHandler::refusal_of(const HttpRequest& head,
                                                     const Router::Match& match) {
  if (!match.entry || match.entry->options.needs_key) {
    if (auto refused = access_.origins.refuse(head)) return refused;
    const Scope scope = match.entry ? match.entry->options.scope : Scope::infer;
    if (auto refused = refuse_by_key(head, scope)) return refused;
  }
  if (!match.entry) {
    if (match.allowed.empty()) return refusal(404, why_nothing_is_at(head.path), "not_found");
    if (head.method == "OPTIONS") return nullptr;
    return refusal(405,
                   format("{} takes {}", head.path, match.allowed),
                   "method_not_allowed",
                   {{"Allow", match.allowed + ", OPTIONS"}});
  }
  if (match.entry->options.takes_json && !is_json(head.header("content-type")))
    return refusal(415,
                   "the body must be JSON: send \"Content-Type: application/json\"",
                   "unsupported_media_type");
  return nullptr;
}

Task<> ApiHandler::run_route(const Router::Entry& entry, Exchange& exchange) {
  const bool counts = entry.options.needs_key && entry.options.scope == Scope::infer;
  const KeySlot slot(counts ? access_.keys.find(exchange.request()) : nullptr,
                     access_.max_concurrency_per_key);
  if (!slot.is_taken()) {
    metrics_.count_rejection("key_concurrency");
    fail(ErrorCode::exhausted,
         "this API key has {} requests running, its limit; try again when one has ended",
         access_.max_concurrency_per_key);
  }
  co_await entry.route(exchange);
}

// An answer that has begun cannot become an error: the connection then closes it in the middle.
Task<> ApiHandler::handle(Exchange& exchange) {
  std::optional<HttpResponse> failure;
  HttpRequest& request = exchange.request();
  Router::Match match = router_.match(request.method, request.path);
  try {
    // The same key in another header is the same owner.
    if (const auto* holder = access_.keys.find(request))
      request.owner = format("key-{}", fmt::ptr(holder));
    if (match.entry) {
      request.parameters = std::move(match.parameters);
      co_await run_route(*match.entry, exchange);
    } else {
      co_await exchange.respond(options_response(match.allowed));
    }
  } catch (const std::exception& e) {
    failure = error_response(e);
    put_in_dialect(*failure, match.entry);
    if (failure->status >= 500)
      log(LogLevel::error,
          "request failed id={} path={} error={}",
          exchange.request().id,
          printable(exchange.request().path, 200),
          e.what());
  }
  if (failure && !exchange.has_begun() && exchange.is_open())
    co_await exchange.respond(std::move(*failure));
}

void ApiHandler::finished(const HttpRequest& request,
                          int status,
                          int64_t elapsed_us,
                          const std::string& note) {
  const Router::Match match = router_.match(request.method, request.path);
  // Not the path itself: a client could make any number of those.
  const std::string_view handler = match.entry ? std::string_view(match.entry->pattern) : "none";
  const std::string_view method = match.entry ? std::string_view(request.method) : "other";
  const double seconds = static_cast<double>(elapsed_us) / 1e6;
  metrics_.count_http(handler, method, status, seconds);
  if (!logs_requests_) return;
  // What is asked every few seconds would hide the rest.
  const bool is_probe =
      match.entry && status < 400 && (!match.entry->options.needs_key || handler == "/metrics");
  log_request(is_probe ? LogLevel::debug : LogLevel::info, request, status, elapsed_us, note);
}

}  // namespace quern
