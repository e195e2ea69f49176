// SPDX-License-Identifier: Apache-2.0
// BlockPool: hands out block ids and counts references to them. Ids only; the tensors are
// KvCache's.
#pragma once

#include <cstdint>
#include <vector>

namespace quern {

// Unreferenced blocks wait in one line. Those without worthwhile content are reused first, the
// latest released one at once; those marked kept join at the back and are reused in the order of
// their release: least recently used first. The order depends on the calls alone.
class BlockPool {
 public:
  // At most 2^31 - 1 blocks.
  explicit BlockPool(int64_t num_blocks);

  int64_t size() const { return static_cast<int64_t>(blocks_.size()); }
  int64_t unreferenced() const { return unreferenced_; }
  int64_t used() const { return size() - unreferenced_; }

  // An unreferenced block with its first reference, its old content forgotten; -1 if all are
  // referenced.
  int32_t take();
  // One more reference; an unreferenced block is called back from the line with its content.
  void add_reference(int32_t block);
  void release(int32_t block);
  int32_t references(int32_t block) const { return at(block).references; }

  // The content of a referenced block is worth finding again.
  void keep(int32_t block);
  // Rises when the block is taken anew: content of an older generation is gone.
  uint64_t generation(int32_t block) const { return at(block).generation; }

 private:
  struct Block {
    int32_t references = 0;
    int32_t before = -1, after = -1;  // neighbours in the line
    bool is_kept = false;
    uint64_t generation = 0;
  };

  Block& at(int32_t block);
  const Block& at(int32_t block) const;
  void link_front(int32_t block);
  void link_back(int32_t block);
  void unlink(int32_t block);

  std::vector<Block> blocks_;
  int32_t front_ = -1, back_ = -1;
  int64_t unreferenced_ = 0;
};

}  // namespace quern
