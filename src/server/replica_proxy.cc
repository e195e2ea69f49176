// SPDX-License-Identifier: Apache-2.0
#include "server/replica_proxy.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/log.h"
#include "server/peer.h"
#include "server/upstream_answer.h"

namespace quern {
namespace {

constexpr int64_t kWriteUs = 60'000'000;
constexpr int64_t kLookUs = 500'000;  // whether the client is still there
constexpr int64_t kMetricsUs = 5'000'000;
constexpr std::string_view kResponses = "/v1/responses";

// Said anew for the connection to a replica.
bool is_of_connection(std::string_view name) {
  constexpr std::string_view kNames[] = {"connection",
                                         "content-length",
                                         "transfer-encoding",
                                         "expect",
                                         "keep-alive",
                                         "te",
                                         "upgrade",
                                         "x-request-id"};
  return std::ranges::find(kNames, name) != std::end(kNames);
}

// Of a path that was decoded.
std::string percent_encoded(std::string_view path) {
  constexpr std::string_view kPlain = "/-._~!$&'()*+,;=:@";
  std::string out;
  for (const char c : path) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || kPlain.find(c) != std::string::npos)
      out += c;
    else
      out += format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string bytes_of(const HttpRequest& request) {
  std::string out = format("{} {}{}{} HTTP/1.1\r\n",
                           request.method,
                           percent_encoded(request.path),
                           request.query.empty() ? "" : "?",
                           request.query);
  for (const auto& [name, value] : request.headers)
    if (!is_of_connection(name)) out += format("{}: {}\r\n", name, value);
  out += format(
      "x-request-id: {}\r\nx-forwarded-for: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
      request.id,
      request.remote.substr(0, request.remote.rfind(':')),
      request.body.size());
  return out + request.body;
}

// "resp_…" of an answer of /v1/responses, which says it early, streamed or not.
std::string response_id_in(std::string_view body) {
  const size_t begin = body.find("\"resp_");
  const size_t end = begin == std::string::npos ? begin : body.find('"', begin + 1);
  return end == std::string::npos ? "" : std::string(body.substr(begin + 1, end - begin - 1));
}

// The stored answer that a path is about; empty: none.
std::string response_id_of(std::string_view path) {
  if (!path.starts_with(kResponses) || path.size() <= kResponses.size() + 1) return "";
  path.remove_prefix(kResponses.size() + 1);
  return std::string(path.substr(0, path.find('/')));
}

// Gives it back, however the request ends.
class TicketHolder {
 public:
  TicketHolder(ReplicaRouter& router, const ReplicaRouter::Ticket& ticket)
      : router_(router), ticket_(ticket) {}
  ~TicketHolder() { router_.give_back(ticket_); }
  TicketHolder(const TicketHolder&) = delete;
  TicketHolder& operator=(const TicketHolder&) = delete;

 private:
  ReplicaRouter& router_;
  const ReplicaRouter::Ticket ticket_;
};

}  // namespace

std::string merged_metrics(const std::vector<std::string>& texts) {
  struct Family {
    std::string head, samples;
  };
  std::vector<std::string> order;
  std::map<std::string, Family> families;
  for (size_t i = 0; i < texts.size(); ++i) {
    Family* family = nullptr;
    for (size_t begin = 0, end = 0; begin < texts[i].size(); begin = end + 1) {
      end = std::min(texts[i].find('\n', begin), texts[i].size());
      const std::string line = texts[i].substr(begin, end - begin);
      if (line.starts_with("# ")) {  // "# HELP name …", "# TYPE name …"
        const size_t name_end = std::min(line.find(' ', 7), line.size());
        const std::string name = line.substr(7, name_end - 7);
        const auto [it, is_new] = families.try_emplace(name);
        if (is_new) order.push_back(name);
        family = &it->second;
        if (family->head.find(line) == std::string::npos) family->head += line + "\n";
      } else if (family != nullptr && !line.empty()) {
        const size_t brace = line.find('{'), space = line.find(' ');
        const std::string label = format("replica=\"{}\"", i);
        family->samples +=
            brace < space
                ? format("{}{{{},{}\n", line.substr(0, brace), label, line.substr(brace + 1))
                : format("{}{{{}}}{}\n", line.substr(0, space), label, line.substr(space));
      }
    }
  }
  std::string out;
  for (const std::string& name : order) out += families[name].head + families[name].samples;
  return out;
}

HttpResponse ReplicaProxy::state(bool asks_ready) const {
  Json replicas = Json::array();
  for (int i = 0; i < router_.count(); ++i)
    replicas.push_back({{"replica", i},
                        {"takes_requests", router_.port_of(i) != 0},
                        {"running", router_.running(i)}});
  const bool is_there = router_.is_any_there();
  const char* word = is_there ? "ok" : "recovering";
  HttpResponse out =
      json_response(Json{{"status", word}, {"replicas", std::move(replicas)}}.dump());
  if (is_there || !asks_ready) return out;
  out.status = 503;
  out.headers.emplace_back("Retry-After", "1");
  return out;
}

Task<> ReplicaProxy::handle(Exchange& exchange) {
  std::optional<HttpResponse> failure;
  try {
    const std::string& path = exchange.request().path;
    if (path == "/health" || path == "/ready") {
      co_await exchange.respond(state(path == "/ready"));
    } else if (path == "/metrics") {
      HttpResponse answer;
      answer.content_type = "text/plain; version=0.0.4; charset=utf-8";
      answer.body = co_await gather_metrics(exchange);
      co_await exchange.respond(std::move(answer));
    } else {
      co_await hand_on(exchange);
    }
  } catch (const std::exception& e) {
    failure = error_response(e);
    log(LogLevel::error, "request failed id={} error={}", exchange.request().id, e.what());
  }
  if (failure && !exchange.has_begun() && exchange.is_open())
    co_await exchange.respond(std::move(*failure));
}

Task<> ReplicaProxy::hand_on(Exchange& exchange) {
  HttpRequest& request = exchange.request();
  RequestMark mark;
  if (request.method == "POST") {
    std::function<void()> work = [&] { mark = mark_of_request(request.body); };
    co_await exchange.offload(std::move(work));
  }
  if (const std::string id = response_id_of(request.path); !id.empty())
    mark.previous_response_id = id;
  std::vector<bool> tried(static_cast<size_t>(router_.count()), false);
  for (;;) {
    const ReplicaRouter::Ticket ticket = router_.take(mark, tried);
    if (ticket.replica < 0) break;
    tried[static_cast<size_t>(ticket.replica)] = true;
    exchange.log_note =
        format("replica={} seen_prefixes={}/{}", ticket.replica, ticket.seen, mark.prefixes.size());
    const TicketHolder holder(router_, ticket);
    const Outcome outcome = co_await ask(exchange, ticket);
    if (outcome == Outcome::answered) co_return;
    log(LogLevel::warn,
        "request id={}: replica {} {}; another is asked",
        request.id,
        ticket.replica,
        outcome == Outcome::nobody ? "does not answer" : "was lost before it said anything");
  }
  fail(ErrorCode::unavailable, "no replica takes requests now; try again");
}

Task<ReplicaProxy::Outcome> ReplicaProxy::ask(Exchange& exchange,
                                              const ReplicaRouter::Ticket& ticket) {
  const std::shared_ptr<Peer> peer = co_await exchange.dial(ticket.port);
  if (!peer) co_return Outcome::nobody;
  bool is_answered = false;
  std::exception_ptr error;
  try {
    const std::string bytes = bytes_of(exchange.request());
    if (co_await peer->write(bytes, kWriteUs))
      is_answered = co_await relay(exchange, *peer, ticket.replica);
  } catch (const std::exception& e) {
    if (exchange.has_begun()) error = std::current_exception();
    log(LogLevel::warn, "replica {}: {}", ticket.replica, e.what());
  }
  peer->close();
  if (error) std::rethrow_exception(error);
  co_return is_answered || !exchange.is_open() ? Outcome::answered : Outcome::lost;
}

// False if the replica left before it said anything. One that leaves in the middle of a stream
// leaves it without an end, which the client sees.
Task<bool> ReplicaProxy::relay(Exchange& exchange, Peer& peer, int replica) {
  UpstreamAnswer answer;
  std::string whole;
  const bool is_stored = exchange.request().path.starts_with(kResponses);
  bool is_remembered = !is_stored;
  const bool is_head = exchange.request().method == "HEAD";  // is answered without a body
  while (!answer.is_done() && !(is_head && answer.has_head())) {
    if (!co_await peer.fill(kLookUs)) {
      if (!peer.has_timed_out()) break;
      if (!exchange.is_open()) co_return true;
      continue;
    }
    answer.feed(peer.buffered());
    peer.consume(peer.buffered().size());
    if (!answer.has_head()) continue;
    std::string piece = answer.take_body();
    if (!is_remembered)
      if (const std::string id = response_id_in(piece); !id.empty()) {
        router_.remember(id, replica);
        is_remembered = true;
      }
    if (!answer.is_chunked()) {
      whole += piece;
      continue;
    }
    if (!exchange.is_open()) co_return true;
    if (!exchange.has_begun()) co_await exchange.begin_stream(answer.head());
    co_await exchange.write(std::move(piece));
  }
  if (!answer.is_done() && !is_head) co_return exchange.has_begun();
  if (answer.is_chunked() && exchange.has_begun()) {
    co_await exchange.end_stream();
  } else {
    answer.head().body = std::move(whole);
    co_await exchange.respond(std::move(answer.head()));
  }
  co_return true;
}

Task<std::string> ReplicaProxy::gather_metrics(Exchange& exchange) {
  std::vector<std::string> texts(static_cast<size_t>(router_.count()));
  const std::string question = bytes_of(exchange.request());
  for (int i = 0; i < router_.count(); ++i) {
    if (router_.port_of(i) == 0) continue;
    const std::shared_ptr<Peer> peer = co_await exchange.dial(router_.port_of(i));
    if (!peer) continue;
    UpstreamAnswer answer;
    bool goes_on = co_await peer->write(question, kMetricsUs);
    while (goes_on && !answer.is_done()) {
      goes_on = co_await peer->fill(kMetricsUs);
      answer.feed(peer->buffered());
      peer->consume(peer->buffered().size());
    }
    if (answer.is_done() && answer.head().status == 200)
      texts[static_cast<size_t>(i)] = answer.take_body();
    peer->close();
  }
  co_return merged_metrics(texts);
}

void ReplicaProxy::finished(const HttpRequest& request,
                            int status,
                            int64_t elapsed_us,
                            const std::string& note) {
  if (logs_requests_ && !note.empty())
    log_request(LogLevel::info, request, status, elapsed_us, note);
}

}  // namespace quern
