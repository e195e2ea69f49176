// SPDX-License-Identifier: Apache-2.0
#include "cache/block_pool.h"

#include <limits>

#include "base/error.h"

namespace quern {

BlockPool::BlockPool(int64_t num_blocks) {
  QUERN_CHECK(num_blocks >= 0 && num_blocks <= std::numeric_limits<int32_t>::max(),
              "{} blocks",
              num_blocks);
  blocks_.resize(static_cast<size_t>(num_blocks));
  for (int32_t id = 0; id < num_blocks; ++id) link_back(id);
}

int32_t BlockPool::take() {
  if (front_ < 0) return -1;
  const int32_t id = front_;
  unlink(id);
  Block& block = at(id);
  block.references = 1;
  block.is_kept = false;
  ++block.generation;
  return id;
}

void BlockPool::add_reference(int32_t id) {
  Block& block = at(id);
  if (block.references++ == 0) unlink(id);
}

void BlockPool::release(int32_t id) {
  Block& block = at(id);
  QUERN_CHECK(block.references > 0, "block {} released more often than taken", id);
  if (--block.references > 0) return;
  if (block.is_kept) {
    link_back(id);
  } else {
    link_front(id);
  }
}

void BlockPool::keep(int32_t id) {
  QUERN_CHECK(at(id).references > 0, "block {} is not in use", id);
  at(id).is_kept = true;
}

BlockPool::Block& BlockPool::at(int32_t id) {
  QUERN_CHECK(id >= 0 && id < size(), "block {} of {}", id, size());
  return blocks_[static_cast<size_t>(id)];
}

const BlockPool::Block& BlockPool::at(int32_t id) const {
  return const_cast<BlockPool*>(this)->at(id);
}

void BlockPool::link_front(int32_t id) {
  at(id).before = -1;
  at(id).after = front_;
  (front_ >= 0 ? at(front_).before : back_) = id;
  front_ = id;
  ++unreferenced_;
}

void BlockPool::link_back(int32_t id) {
  at(id).before = back_;
  at(id).after = -1;
  (back_ >= 0 ? at(back_).after : front_) = id;
  back_ = id;
  ++unreferenced_;
}

void BlockPool::unlink(int32_t id) {
  const Block& block = at(id);
  (block.before >= 0 ? at(block.before).after : front_) = block.after;
  (block.after >= 0 ? at(block.after).before : back_) = block.before;
  --unreferenced_;
}

}  // namespace quern
