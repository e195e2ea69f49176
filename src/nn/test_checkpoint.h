// SPDX-License-Identifier: Apache-2.0
// For the tests of this room: a checkpoint in memory.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/half.h"
#include "weights/checkpoint.h"

namespace quern {

class TestCheckpoint final : public Checkpoint {
 public:
  explicit TestCheckpoint(std::string_view config = "{}")
      : config_(Config::parse(config, "config.json")) {}

  void add(const std::string& name,
           Stored stored,
           const Shape& shape,
           std::vector<std::byte> bytes) {
    Entry entry;
    entry.info.name = name;
    entry.info.stored = stored;
    entry.info.shape = shape;
    entry.bytes = std::move(bytes);
    entries_[name] = std::move(entry);
  }
  void add_f32(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    add(name, Stored::f32, shape, std::move(bytes));
  }
  // w[n, k] = 100 n + k
  void add_counting(const std::string& name, int64_t n, int64_t k) {
    add_f32(name, {n, k}, counting(n, k));
  }
  static std::vector<float> counting(int64_t n, int64_t k) {
    std::vector<float> values;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j) values.push_back(static_cast<float>(100 * i + j));
    return values;
  }
  // Blocks of 32: scale n + 1, codes k % 32 - 16.
  void add_q8_0(const std::string& name, int64_t n, int64_t k) {
    std::vector<std::byte> bytes;
    for (int64_t block = 0; block < n * k / 32; ++block) {
      const uint16_t scale = float_to_f16(static_cast<float>(block / (k / 32) + 1));
      bytes.push_back(static_cast<std::byte>(scale & 255));
      bytes.push_back(static_cast<std::byte>(scale >> 8));
      for (int code = -16; code < 16; ++code)
        bytes.push_back(static_cast<std::byte>(static_cast<int8_t>(code)));
    }
    add(name, Stored::q8_0, {n, k}, std::move(bytes));
  }

  const TensorInfo* find(std::string_view name) const override {
    const auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second.info;
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> out;
    for (const auto& [name, entry] : entries_) out.push_back(name);
    return out;
  }
  std::span<const std::byte> bytes(std::string_view name) const override {
    return entries_.find(name)->second.bytes;
  }
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return 0; }

 private:
  struct Entry {
    TensorInfo info;
    std::vector<std::byte> bytes;
  };
  Config config_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace quern
