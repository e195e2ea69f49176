// SPDX-License-Identifier: Apache-2.0
// ReplicaRouter: which of several servers of one model a request goes to: where its beginning was
// seen before, so that the prefix cache has it, unless that server has much more to do than
// another.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace quern {

// What of a request's body decides where it goes.
struct RequestMark {
  // Hashes of its prompt's beginnings, each 256 bytes of text longer than the one before.
  std::vector<uint64_t> prefixes;
  std::string previous_response_id;  // of /v1/responses; empty: none
};
// Of a body in the form of any route (messages, prompt or input, behind tools and system); nothing
// of one that is no JSON.
RequestMark mark_of_request(std::string_view body);

enum class RoutingPolicy : uint8_t { prefix, round_robin };

// From any thread.
class ReplicaRouter {
 public:
  explicit ReplicaRouter(int count, RoutingPolicy policy = RoutingPolicy::prefix);

  int count() const { return static_cast<int>(replicas_.size()); }
  // Where it listens on loopback; 0: it gets no new requests.
  void set_port(int replica, int port);
  int port_of(int replica) const;
  int running(int replica) const;  // requests that have not ended
  bool is_any_there() const;

  struct Ticket {
    int replica = -1;  // none is left
    int port = 0;
    size_t seen = 0;  // of the prefixes, how many this replica had before
  };
  // Begins a request on one that was not tried. It ends with give_back.
  Ticket take(const RequestMark& mark, const std::vector<bool>& tried);
  void give_back(const Ticket& ticket);

  // A stored answer lies where it was made.
  void remember(const std::string& response_id, int replica);
  int whose(const std::string& response_id) const;  // -1: not known

 private:
  // The last so many prefixes, in two halves of which the older is dropped as a whole.
  class Prefixes {
   public:
    size_t matching(const std::vector<uint64_t>& prefixes) const;
    void add(const std::vector<uint64_t>& prefixes);

   private:
    bool has(uint64_t prefix) const { return young_.contains(prefix) || old_.contains(prefix); }
    std::unordered_set<uint64_t> young_, old_;
  };
  struct Replica {
    int port = 0, running = 0;
    int64_t begun = 0;
    Prefixes prefixes;
  };
  bool is_open(int replica, const std::vector<bool>& tried) const;
  int idlest(const std::vector<bool>& tried) const;
  int choose(const RequestMark& mark, const std::vector<bool>& tried) const;

  const RoutingPolicy policy_;
  mutable std::mutex mutex_;
  std::vector<Replica> replicas_;
  std::unordered_map<std::string, int> responses_;
  std::deque<std::string> response_order_;
};

}  // namespace quern
