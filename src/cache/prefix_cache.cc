// SPDX-License-Identifier: Apache-2.0
#include "cache/prefix_cache.h"

namespace quern {

Hash128 prefix_root(std::string_view salt, const Hash128& encoder) {
  return hash_chain(encoder, std::as_bytes(std::span(salt)));
}

Hash128 block_key(const Hash128& previous, const BlockContent& content) {
  Hash128 key = hash_chain(previous, std::as_bytes(content.tokens));
  key = hash_chain(key, std::as_bytes(content.positions));
  for (const BlockMedia& m : content.media) {
    const uint64_t words[5] = {m.hash.low,
                               m.hash.high,
                               static_cast<uint64_t>(m.source_begin),
                               static_cast<uint64_t>(m.first),
                               static_cast<uint64_t>(m.count)};
    key = hash_chain(key, std::as_bytes(std::span(words)));
  }
  return key;
}

int32_t PrefixCache::find(const Hash128& key) const {
  const auto it = blocks_.find(key);
  if (it == blocks_.end() || pool_.generation(it->second.block) != it->second.generation) return -1;
  return it->second.block;
}

void PrefixCache::insert(const Hash128& key, int32_t block) {
  if (find(key) >= 0) return;
  pool_.keep(block);
  Hash128& last = keys_[static_cast<size_t>(block)];
  if (const auto old = blocks_.find(last); old != blocks_.end() && old->second.block == block)
    blocks_.erase(old);
  last = key;
  blocks_[key] = {block, pool_.generation(block)};
}

}  // namespace quern
