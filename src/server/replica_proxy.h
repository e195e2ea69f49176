// SPDX-License-Identifier: Apache-2.0
// ReplicaProxy: answers by asking one of several servers of one model, each on a port of loopback.
// They judge keys, bodies and origins; this hands requests and answers on. A request that was given
// to a server which is gone before it said anything goes to another.
#pragma once

#include <memory>
#include <string>

#include "server/exchange.h"
#include "server/replica_router.h"

namespace quern {

class ReplicaProxy final : public RequestHandler {
 public:
  // `router` must outlive it.
  ReplicaProxy(ReplicaRouter& router, bool logs_requests)
      : router_(router), logs_requests_(logs_requests) {}

  std::unique_ptr<HttpResponse> refuse(const HttpRequest&) override { return nullptr; }
  Task<> handle(Exchange& exchange) override;
  void finished(const HttpRequest& request,
                int status,
                int64_t elapsed_us,
                const std::string& note) override;

 private:
  enum class Outcome : uint8_t { answered, lost, nobody };
  Task<> hand_on(Exchange& exchange);
  Task<Outcome> ask(Exchange& exchange, const ReplicaRouter::Ticket& ticket);
  Task<bool> relay(Exchange& exchange, Peer& peer, int replica);
  Task<std::string> gather_metrics(Exchange& exchange);
  HttpResponse state(bool asks_ready) const;

  ReplicaRouter& router_;
  const bool logs_requests_;
};

// One text of Prometheus' metrics out of several: every sample with a label for whose it is.
std::string merged_metrics(const std::vector<std::string>& texts);

}  // namespace quern
