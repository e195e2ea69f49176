// SPDX-License-Identifier: Apache-2.0
// BlockTable: the blocks of one sequence, in order. It holds one reference to each and gives them
// back when it ends.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "cache/block_pool.h"

namespace quern {

class BlockTable {
 public:
  BlockTable(BlockPool& pool, int block_size) : pool_(&pool), block_size_(block_size) {}
  BlockTable(BlockTable&& other) noexcept
      : pool_(other.pool_),
        block_size_(other.block_size_),
        blocks_(std::exchange(other.blocks_, {})) {}
  BlockTable& operator=(BlockTable&&) = delete;
  ~BlockTable() { clear(); }

  std::span<const int32_t> blocks() const { return blocks_; }
  int64_t capacity_tokens() const { return static_cast<int64_t>(blocks_.size()) * block_size_; }
  // Blocks to be taken before `tokens` tokens fit.
  int64_t missing_blocks(int64_t tokens) const {
    return std::max<int64_t>(0, (tokens - capacity_tokens() + block_size_ - 1) / block_size_);
  }

  // Makes room for `tokens` tokens; false, and nothing taken, if the pool has too few blocks.
  bool grow_to(int64_t tokens) {
    const int64_t missing = missing_blocks(tokens);
    if (missing > pool_->unreferenced()) return false;
    for (int64_t i = 0; i < missing; ++i) blocks_.push_back(pool_->take());
    return true;
  }

  // Appends a block that another sequence filled.
  void share(int32_t block) {
    pool_->add_reference(block);
    blocks_.push_back(block);
  }

  // Where token `index` is stored: block * block_size + offset.
  int32_t slot(int64_t index) const {
    return blocks_[static_cast<size_t>(index / block_size_)] * block_size_ +
           static_cast<int32_t>(index % block_size_);
  }

  // Gives all blocks back, the last one first: the beginning, which others may share, is the last
  // to be evicted.
  void clear() {
    for (; !blocks_.empty(); blocks_.pop_back()) pool_->release(blocks_.back());
  }

 private:
  BlockPool* pool_;
  int block_size_;
  std::vector<int32_t> blocks_;
};

}  // namespace quern
