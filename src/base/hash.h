// SPDX-License-Identifier: Apache-2.0
// 128-bit content hashes (XXH3), for media, prefix-cache keys and file identities; not for secrets.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace quern {

struct Hash128 {
  uint64_t low = 0, high = 0;
  auto operator<=>(const Hash128&) const = default;
  std::string hex() const;  // 32 digits
};

Hash128 hash_bytes(std::span<const std::byte> bytes, uint64_t seed = 0);
// The hash of a chain: `previous`, then `bytes`.
Hash128 hash_chain(const Hash128& previous, std::span<const std::byte> bytes);

}  // namespace quern

template <>
struct std::hash<quern::Hash128> {
  size_t operator()(const quern::Hash128& h) const noexcept {
    return h.low ^ (h.high * 0x9e3779b97f4a7c15ull);
  }
};
