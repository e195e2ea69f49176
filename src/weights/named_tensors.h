// SPDX-License-Identifier: Apache-2.0
// NamedTensors: the tensors of one mapped file as a checkpoint, under their names as stored. Unlike
// MappedCheckpoint it renames nothing, and holds tensors whose elements do not lie in a row.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "base/file.h"
#include "weights/checkpoint.h"

namespace quern {

// The element at index [i, j, …] begins (i strides[0] + j strides[1] + …) elements behind the first
// of `bytes`.
struct StridedElements {
  std::span<const std::byte> bytes;
  std::vector<int64_t> strides;  // one for each axis, none negative
};

class NamedTensors final : public Checkpoint {
 public:
  // config() is empty and names `file`.
  explicit NamedTensors(MappedFile file);

  std::span<const std::byte> file() const { return file_.bytes(); }
  // Keeps bytes that the file does not hold as they are.
  std::span<const std::byte> keep(std::vector<std::byte> bytes);
  // Throw data_loss where the name is taken.
  void add(TensorInfo info, std::span<const std::byte> bytes);
  // Copied in order when its bytes are first asked for. Every element lies inside of the bytes.
  void add_strided(TensorInfo info, StridedElements elements);

  const TensorInfo* find(std::string_view name) const override;
  std::vector<std::string> names() const override;
  std::span<const std::byte> bytes(std::string_view name) const override;
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return total_bytes_; }
  void read_ahead(std::string_view prefix) const override;
  void give_back(std::string_view prefix) const override;

 private:
  struct Entry {
    TensorInfo info;
    std::span<const std::byte> bytes;
    std::vector<int64_t> strides;     // empty: in a row
    std::vector<std::byte> in_order;  // the copy, once it is made
  };
  void insert(Entry entry);
  template <typename Action>
  void for_file_ranges(std::string_view prefix, Action&& action) const;

  MappedFile file_;
  Config config_;
  std::vector<std::vector<std::byte>> kept_;
  mutable std::mutex mutex_;  // of `in_order` of all entries
  mutable std::map<std::string, Entry, std::less<>> entries_;
  int64_t total_bytes_ = 0;
};

}  // namespace quern
