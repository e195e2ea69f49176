// SPDX-License-Identifier: Apache-2.0
// Fetching media over http(s) without becoming a way into the private network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

struct sockaddr;

namespace quern {

// Whether an address is on the public internet: not loopback, private, link-local, shared (RFC
// 6598), multicast, reserved, documentation or unspecified, also not when wrapped into IPv6
// (mapped, compatible, NAT64, 6to4, Teredo).
bool is_public_address(const sockaddr& address);

// Whether `host` is in the list: equal without regard to case, below "*.example.com", or the list
// has "*".
bool is_allowed_host(std::string_view host, const std::vector<std::string>& allowed_domains);

struct FetchLimits {
  size_t max_bytes = size_t{32} << 20;
  int64_t timeout_ms = 10'000;  // of the whole fetch, redirects included
  std::vector<std::string> allowed_domains;
  // Asked with the address of every connection, after names were resolved. Tests put another one
  // here.
  bool (*is_allowed_address)(const sockaddr& address) = is_public_address;
};

// The body of an http(s) URL. Up to five redirects are followed; each must lead to an allowed host.
// No proxies, cookies or credentials. Throws invalid_argument (not allowed, refused by the server),
// exhausted (too large) or unavailable (no answer in time).
std::string fetch_url(const std::string& url, const FetchLimits& limits);

}  // namespace quern
