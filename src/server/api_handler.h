// SPDX-License-Identifier: Apache-2.0
// ApiHandler: what stands between connections and routes: keys, content types, errors, the access
// log.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/api_keys.h"
#include "server/exchange.h"
#include "server/metrics.h"
#include "server/origin_rules.h"
#include "server/router.h"

namespace quern {

// Who is let in.
struct Access {
  ApiKeys keys;
  OriginRules origins;
  int max_concurrency_per_key = 0;  // 0: any
};

class ApiHandler final : public RequestHandler {
 public:
  // `router` and `metrics` must outlive the handler.
  ApiHandler(const Router& router, Access access, Metrics& metrics, bool logs_requests);

  std::unique_ptr<HttpResponse> refuse(const HttpRequest& head) override;
  Headers answer_headers(const HttpRequest& request) const override;
  Task<> handle(Exchange& exchange) override;
  void finished(const HttpRequest& request,
                int status,
                int64_t elapsed_us,
                const std::string& note) override;

 private:
  std::unique_ptr<HttpResponse> refusal_of(const HttpRequest& head, const Router::Match& match);
  std::unique_ptr<HttpResponse> refuse_by_key(const HttpRequest& head, Scope scope) const;
  Task<> run_route(const Router::Entry& entry, Exchange& exchange);

  const Router& router_;
  const Access access_;
  Metrics& metrics_;
  const bool logs_requests_;
};

}  // namespace quern
