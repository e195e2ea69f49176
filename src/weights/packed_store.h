// SPDX-License-Identifier: Apache-2.0
// PackedStore: a folder of packed weights, one file for each key, bounded in bytes. Several
// processes may share it: a file appears under its name only when it is whole, the last to finish
// wins, and whoever has mapped the former keeps it.
#pragma once

#include <memory>
#include <string>

#include "weights/checkpoint.h"
#include "weights/packed_file.h"

namespace quern {

// What the weights of `checkpoint`, opened from `path`, are made from: names, sizes, times and
// inodes of the files there, and all names, types and shapes of tensors. Files are not read.
Hash128 identity_of(const Checkpoint& checkpoint, const std::string& path);

class PackedStore {
 public:
  // Nothing is touched before it is used. max_bytes < 0: 50 GB, or half of what the disk has free
  // beside the store, whichever is less.
  explicit PackedStore(std::string folder, int64_t max_bytes = -1)
      : folder_(std::move(folder)), max_bytes_(max_bytes) {}

  // The file of `key`, verified, and from now on the most recently used; null if there is none. One
  // that is damaged is removed, with a warning.
  std::unique_ptr<PackedFile> open(const Hash128& key, ThreadPool& pool) const;

  // Writes the file of `key` beside the others, forgetting the least recently used beyond the
  // limit, and moves it to its name when the disk has it. Returns its bytes. Throws exhausted where
  // it is larger than the limit or the disk is full, unavailable for other failures; what was there
  // before is then still there.
  int64_t write(const Hash128& key, std::span<const PackedEntry> entries, ThreadPool& pool) const;

  std::string path_of(const Hash128& key) const;

 private:
  int64_t limit() const;
  void make_room(int64_t bytes, const std::string& replaced) const;

  std::string folder_;
  int64_t max_bytes_;
};

}  // namespace quern
