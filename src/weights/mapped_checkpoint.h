// SPDX-License-Identifier: Apache-2.0
// The one implementation of Checkpoint: a sorted table of tensors over mapped files. Containers
// fill it.
#pragma once

#include <map>
#include <vector>

#include "base/file.h"
#include "weights/checkpoint.h"

namespace quern {

class MappedCheckpoint final : public Checkpoint {
 public:
  explicit MappedCheckpoint(Config config) : config_(std::move(config)) {}

  // Keeps the mapping alive as long as the checkpoint; returns its bytes.
  std::span<const std::byte> own(MappedFile file);
  // Adds a tensor under its canonical name. Throws data_loss if the name is taken; `where` names
  // the file.
  void add(TensorInfo info, std::span<const std::byte> bytes, std::string_view where);
  // A tensor known by shape alone: bytes() throws unavailable.
  void add_shape(TensorInfo info);

  const TensorInfo* find(std::string_view name) const override;
  std::vector<std::string> names() const override;
  std::span<const std::byte> bytes(std::string_view name) const override;
  void read_ahead(std::string_view prefix) const override;
  void give_back(std::string_view prefix) const override;
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return total_bytes_; }

 private:
  struct Entry {
    TensorInfo info;
    std::span<const std::byte> bytes;
    bool has_bytes = true;
  };
  void insert(Entry entry, std::string_view where);
  const Entry* entry(std::string_view name) const;
  template <typename Action>
  void for_file_ranges(std::string_view prefix, Action&& action) const;

  Config config_;
  std::vector<MappedFile> files_;
  std::map<std::string, Entry, std::less<>> entries_;
  int64_t total_bytes_ = 0;
};

}  // namespace quern
