// SPDX-License-Identifier: Apache-2.0
// OriginRules: which web pages may ask. CORS for those that the operator names; and, where a server
// trusts its loopback address alone, a guard against pages that reach it by way of a browser.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/http_types.h"

namespace quern {

// vLLM's flags of the same names. No origins: no CORS header is ever sent.
struct CorsOptions {
  std::vector<std::string> origins;  // "https://app.example", or "*"
  std::vector<std::string> methods = {"*"};
  std::vector<std::string> headers = {"*"};
  bool allow_credentials = false;

  // Throws invalid_argument naming an origin that no browser would send.
  void validate() const;
};

// "[::1]:8000" → "::1", "Example.com:80" → "example.com": the name in a Host header or an origin.
std::string host_name_of(std::string_view host);
// localhost, names below it, and the loopback addresses.
bool is_loopback_host(std::string_view name);

class OriginRules {
 public:
  OriginRules() = default;
  // `guards_hosts`: refuse() looks at Host and Origin. Other than loopback names it then lets
  // `hosts` pass ("*": all).
  OriginRules(CorsOptions cors, bool guards_hosts, std::vector<std::string> hosts);

  // The answer to a browser's question before a request from another origin; null if this is none,
  // or CORS is off.
  std::unique_ptr<HttpResponse> preflight(const HttpRequest& head) const;
  // 403 for a Host or Origin that is not this machine's: a page whose name was made to resolve to a
  // loopback address has its own name in both. Null: let it pass.
  std::unique_ptr<HttpResponse> refuse(const HttpRequest& head) const;
  // What the answers to a request carry.
  Headers headers(const HttpRequest& request) const;

 private:
  bool allows_origin(std::string_view origin) const;
  bool is_own_host(std::string_view name) const;

  CorsOptions cors_;
  bool guards_hosts_ = false;
  std::vector<std::string> hosts_;
};

}  // namespace quern
