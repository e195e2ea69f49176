// SPDX-License-Identifier: Apache-2.0
// The tables follow the IANA registries of special-purpose addresses (RFC 6890 and later).
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "prompt/fetch.h"

namespace quern {
namespace {

struct Range4 {
  uint32_t base;
  int bits;
};
constexpr Range4 kNotPublic4[] = {
    {0x00000000, 8},   // this network
    {0x0a000000, 8},   // private
    {0x64400000, 10},  // shared by carriers
    {0x7f000000, 8},   // loopback
    {0xa9fe0000, 16},  // link-local, cloud metadata
    {0xac100000, 12},  // private
    {0xc0000000, 24},  // protocol assignments
    {0xc0000200, 24},  // documentation
    {0xc0586300, 24},  // 6to4 relays
    {0xc0a80000, 16},  // private
    {0xc6120000, 15},  // benchmarks
    {0xc6336400, 24},  // documentation
    {0xcb007100, 24},  // documentation
    {0xe0000000, 3},   // multicast, reserved, broadcast
};

bool is_public4(uint32_t address) {
  return std::none_of(std::begin(kNotPublic4), std::end(kNotPublic4), [&](const Range4& r) {
    return (address >> (32 - r.bits)) == (r.base >> (32 - r.bits));
  });
}

using Bytes16 = std::array<uint8_t, 16>;

uint32_t word(const Bytes16& a, size_t at) {
  return uint32_t{a[at]} << 24 | uint32_t{a[at + 1]} << 16 | uint32_t{a[at + 2]} << 8 | a[at + 3];
}

// Global unicast is 2000::/3; what lies outside is public only where it wraps a public IPv4
// address.
bool is_public6(const Bytes16& a) {
  const uint32_t first = word(a, 0);
  if (word(a, 0) == 0 && word(a, 4) == 0 && (word(a, 8) == 0x0000ffff))
    return is_public4(word(a, 12));  // mapped
  if (first == 0x0064ff9b)
    return word(a, 4) == 0 && word(a, 8) == 0 && is_public4(word(a, 12));  // NAT64
  if (first >> 29 != 1) return false;
  if (first >> 16 == 0x2002) return is_public4(word(a, 2));  // 6to4
  if (first >> 9 == 0x20010000 >> 9) return false;  // Teredo, benchmarks, protocol assignments
  if (first == 0x20010db8 || first >> 12 == 0x3fff0) return false;  // documentation
  return true;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

}  // namespace

bool is_public_address(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    return is_public4(ntohl(in.sin_addr.s_addr));
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 in;
    std::memcpy(&in, &address, sizeof in);
    Bytes16 bytes;
    std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
    return is_public6(bytes);
  }
  return false;
}

bool is_allowed_host(std::string_view host, const std::vector<std::string>& allowed_domains) {
  if (host.ends_with('.')) host.remove_suffix(1);
  return std::any_of(allowed_domains.begin(), allowed_domains.end(), [&](std::string_view allowed) {
    if (allowed == "*") return true;
    if (!allowed.starts_with("*.")) return equal_ignoring_case(host, allowed);
    const std::string_view tail = allowed.substr(1);
    return host.size() > tail.size() &&
           equal_ignoring_case(host.substr(host.size() - tail.size()), tail);
  });
}

}  // namespace quern
