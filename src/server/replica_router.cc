// SPDX-License-Identifier: Apache-2.0
#include "server/replica_router.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace quern {
namespace {

constexpr size_t kStride = 256;             // bytes of text
constexpr size_t kMostPrefixes = 4096;      // of one request: a prompt of a megabyte
constexpr size_t kKeptPrefixes = 1u << 16;  // of one replica, in each half
constexpr size_t kKeptResponses = 1u << 14;
// A replica with so many requests more than the idlest gets none for its cache's sake.
constexpr int kSlack = 4;

// The chain over text that comes in pieces.
class Chain {
 public:
  explicit Chain(std::vector<uint64_t>& out) : out_(out) {}
  void add(std::string_view text) {
    rest_ += text;
    size_t begin = 0;
    for (; rest_.size() - begin >= kStride && out_.size() < kMostPrefixes; begin += kStride) {
      last_ = hash_chain(last_, std::as_bytes(std::span(rest_).subspan(begin, kStride)));
      out_.push_back(last_.low);
    }
    rest_.erase(0, begin);
  }

 private:
  std::vector<uint64_t>& out_;
  std::string rest_;
  Hash128 last_;
};

}  // namespace

RequestMark mark_of_request(std::string_view body) {
  RequestMark out;
  Json request;
  try {
    request = parse_json(body, "request");
  } catch (const Error&) {
    return out;  // the replica says what is wrong with it
  }
  if (!request.is_object()) return out;
  if (const auto it = request.find("previous_response_id"); it != request.end() && it->is_string())
    out.previous_response_id = it->get<std::string>();
  Chain chain(out.prefixes);
  for (const char* key :
       {"model", "tools", "system", "instructions", "messages", "prompt", "input"}) {
    const auto it = request.find(key);
    if (it == request.end()) continue;
    // Piece by piece: a longer conversation begins as the shorter did.
    if (it->is_array())
      for (const Json& piece : *it) chain.add(piece.dump());
    else
      chain.add(it->is_string() ? it->get<std::string>() : it->dump());
  }
  return out;
}

size_t ReplicaRouter::Prefixes::matching(const std::vector<uint64_t>& prefixes) const {
  return static_cast<size_t>(
      std::ranges::find_if_not(prefixes, [this](uint64_t p) { return has(p); }) - prefixes.begin());
}

void ReplicaRouter::Prefixes::add(const std::vector<uint64_t>& prefixes) {
  for (const uint64_t prefix : prefixes) young_.insert(prefix);
  if (young_.size() < kKeptPrefixes) return;
  old_ = std::move(young_);
  young_ = {};
}

ReplicaRouter::ReplicaRouter(int count, RoutingPolicy policy)
    : policy_(policy), replicas_(static_cast<size_t>(count)) {}

void ReplicaRouter::set_port(int replica, int port) {
  const std::lock_guard lock(mutex_);
  Replica& r = replicas_[static_cast<size_t>(replica)];
  if (port != r.port && port != 0) r.prefixes = {};  // a new process: its cache is empty
  r.port = port;
}

int ReplicaRouter::port_of(int replica) const {
  const std::lock_guard lock(mutex_);
  return replicas_[static_cast<size_t>(replica)].port;
}

int ReplicaRouter::running(int replica) const {
  const std::lock_guard lock(mutex_);
  return replicas_[static_cast<size_t>(replica)].running;
}

bool ReplicaRouter::is_any_there() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(replicas_, [](const Replica& r) { return r.port != 0; });
}

// Under the mutex.
bool ReplicaRouter::is_open(int replica, const std::vector<bool>& tried) const {
  return replicas_[static_cast<size_t>(replica)].port != 0 && !tried[static_cast<size_t>(replica)];
}

// The one with the least to do, of equals the one that has begun the least; -1: none.
int ReplicaRouter::idlest(const std::vector<bool>& tried) const {
  int out = -1;
  const auto load = [this](int replica) {
    const Replica& r = replicas_[static_cast<size_t>(replica)];
    return policy_ == RoutingPolicy::round_robin ? std::pair<int64_t, int64_t>(r.begun, 0)
                                                 : std::pair<int64_t, int64_t>(r.running, r.begun);
  };
  for (int i = 0; i < count(); ++i)
    if (is_open(i, tried) && (out < 0 || load(i) < load(out))) out = i;
  return out;
}

int ReplicaRouter::choose(const RequestMark& mark, const std::vector<bool>& tried) const {
  const int idle = idlest(tried);
  if (policy_ == RoutingPolicy::round_robin || idle < 0) return idle;
  int best = idle;
  size_t most = replicas_[static_cast<size_t>(idle)].prefixes.matching(mark.prefixes);
  for (int i = 0; i < count(); ++i) {
    if (!is_open(i, tried)) continue;
    const size_t seen = replicas_[static_cast<size_t>(i)].prefixes.matching(mark.prefixes);
    if (seen <= most) continue;
    most = seen;
    best = i;
  }
  const int more =
      replicas_[static_cast<size_t>(best)].running - replicas_[static_cast<size_t>(idle)].running;
  return more > kSlack ? idle : best;
}

ReplicaRouter::Ticket ReplicaRouter::take(const RequestMark& mark, const std::vector<bool>& tried) {
  const int owner = mark.previous_response_id.empty() ? -1 : whose(mark.previous_response_id);
  const std::lock_guard lock(mutex_);
  const int chosen = owner >= 0 && is_open(owner, tried) ? owner : choose(mark, tried);
  if (chosen < 0) return {};
  Replica& r = replicas_[static_cast<size_t>(chosen)];
  const Ticket out{.replica = chosen, .port = r.port, .seen = r.prefixes.matching(mark.prefixes)};
  r.prefixes.add(mark.prefixes);
  ++r.running;
  ++r.begun;
  return out;
}

void ReplicaRouter::give_back(const Ticket& ticket) {
  const std::lock_guard lock(mutex_);
  --replicas_[static_cast<size_t>(ticket.replica)].running;
}

void ReplicaRouter::remember(const std::string& response_id, int replica) {
  const std::lock_guard lock(mutex_);
  if (!responses_.try_emplace(response_id, replica).second) return;
  response_order_.push_back(response_id);
  if (response_order_.size() <= kKeptResponses) return;
  responses_.erase(response_order_.front());
  response_order_.pop_front();
}

int ReplicaRouter::whose(const std::string& response_id) const {
  const std::lock_guard lock(mutex_);
  const auto it = responses_.find(response_id);
  return it == responses_.end() ? -1 : it->second;
}

}  // namespace quern
