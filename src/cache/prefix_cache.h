// SPDX-License-Identifier: Apache-2.0
// PrefixCache: finds the blocks that already hold the K and V of a sequence's beginning.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "cache/block_pool.h"

namespace quern {

// Rows [source_begin, source_begin + count) of the medium `hash` stand at tokens first .. first +
// count of a block.
struct BlockMedia {
  Hash128 hash;
  int32_t source_begin = 0;
  int32_t first = 0;
  int32_t count = 0;
};

// All that the K and V of one full block depend on, given those of the blocks before it.
struct BlockContent {
  std::span<const int32_t> tokens;     // [block_size]
  std::span<const int32_t> positions;  // [A, block_size] row-major
  std::span<const BlockMedia> media;
};

// The key before the first block: what a whole sequence depends on. `salt` keeps apart what may not
// be shared (tenants, adapters); `encoder` is the content hash of the encoder input, zero if there
// is none.
Hash128 prefix_root(std::string_view salt, const Hash128& encoder);
// The key of a block whose predecessor has the key `previous`.
Hash128 block_key(const Hash128& previous, const BlockContent& content);

// Known keys and the blocks they are stored in. A block stays findable after its last reference
// went, until the pool hands it out again (least recently used first).
class PrefixCache {
 public:
  explicit PrefixCache(BlockPool& pool) : pool_(pool), keys_(static_cast<size_t>(pool.size())) {}

  // The block stored under `key`, or -1. It takes no reference: add one before anything is taken
  // from the pool.
  int32_t find(const Hash128& key) const;
  // Stores the content of a referenced block. A key that is known already keeps its block.
  void insert(const Hash128& key, int32_t block);
  // Forgets everything (the memory behind the blocks is gone).
  void clear() { blocks_.clear(); }
  size_t size() const {
    return blocks_.size();
  }  // stale entries included; never more than the pool has blocks

 private:
  struct Entry {
    int32_t block = -1;
    uint64_t generation = 0;
  };

  BlockPool& pool_;
  std::unordered_map<Hash128, Entry> blocks_;
  std::vector<Hash128>
      keys_;  // the last key of each block, to drop its entry when the block is stored anew
};

}  // namespace quern
