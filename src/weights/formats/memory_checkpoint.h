// SPDX-License-Identifier: Apache-2.0
// For tests and fuzz drivers of this room: a checkpoint in memory.
#pragma once

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "weights/mapped_checkpoint.h"
#include "weights/stored.h"

namespace quern {

class MemoryCheckpoint {
 public:
  explicit MemoryCheckpoint(std::string_view config = "{}")
      : checkpoint_(Config::parse(config, "config.json")) {}

  // `misaligned` puts the bytes at an odd address.
  template <typename T>
  void add(const std::string& name,
           Stored stored,
           const Shape& shape,
           const std::vector<T>& values,
           bool misaligned = false) {
    const auto size = static_cast<size_t>(stored_bytes(stored, shape, name));
    QUERN_CHECK(size == values.size() * sizeof(T), "{}: {} values", name, values.size());
    const size_t skipped = misaligned ? 1 : 0;
    std::vector<std::byte>& bytes = bytes_.emplace_back(size + skipped);
    if (size > 0) std::memcpy(bytes.data() + skipped, values.data(), size);
    checkpoint_.add({name, stored, shape, {}}, std::span(bytes).subspan(skipped), "memory");
  }

  const Checkpoint& operator*() const { return checkpoint_; }
  const Checkpoint* operator->() const { return &checkpoint_; }

 private:
  std::deque<std::vector<std::byte>> bytes_;
  MappedCheckpoint checkpoint_;
};

}  // namespace quern
