// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/format.h"

namespace quern {

std::string Hash128::hex() const {
  return format("{:016x}{:016x}", high, low);
}

Hash128 hash_bytes(std::span<const std::byte> bytes, uint64_t seed) {
  const XXH128_hash_t h = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {h.low64, h.high64};
}

Hash128 hash_chain(const Hash128& previous, std::span<const std::byte> bytes) {
  const Hash128 own = hash_bytes(bytes, previous.low);
  const uint64_t mixed[4] = {previous.low, previous.high, own.low, own.high};
  return hash_bytes(std::as_bytes(std::span(mixed)), previous.high);
}

}  // namespace quern
