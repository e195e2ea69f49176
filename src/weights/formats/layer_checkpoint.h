// SPDX-License-Identifier: Apache-2.0
// For the tests of formats: a checkpoint of one layer, "p", whose tensors can be taken away and
// damaged, and fields packed the plain way.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "weights/stored.h"
#include "weights/weight_format.h"

namespace quern {

class LayerCheckpoint final : public Checkpoint {
 public:
  // `quantization`: the JSON under quantization_config; empty: none.
  explicit LayerCheckpoint(const std::string& quantization = "")
      : config_(Config::parse(quantization.empty()
                                  ? std::string("{}")
                                  : R"({"quantization_config": )" + quantization + "}",
                              "config.json")) {}
  LayerCheckpoint(LayerCheckpoint&& other)
      : config_(std::move(other.config_)), entries_(std::move(other.entries_)) {}

  // Adds or replaces.
  template <typename T>
  void add(const std::string& name, Stored stored, const Shape& shape, const std::vector<T>& v) {
    Entry& entry = entries_[name];
    entry.info = {name, stored, shape, {}};
    entry.bytes.resize(1 + v.size() * sizeof(T));
    if (!v.empty()) std::memcpy(entry.bytes.data() + 1, v.data(), v.size() * sizeof(T));
    ASSERT_EQ(stored_bytes(stored, shape, name), static_cast<int64_t>(v.size() * sizeof(T)));
  }
  void add_f16(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    std::vector<uint16_t> halves;
    for (const float value : values) halves.push_back(float_to_f16(value));
    add(name, Stored::f16, shape, halves);
  }
  void remove(const std::string& name) { entries_.erase(name); }
  void set_byte(const std::string& name, size_t at, uint8_t value) {
    entries_.at(name).bytes.at(1 + at) = static_cast<std::byte>(value);
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
    return std::span(entries_.find(name)->second.bytes).subspan(1);
  }
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return 0; }

  const WeightFormat& format() const { return format_of(*this, "p"); }
  QuantMatrix read(Range rows, Range cols, Device device = Device::cpu()) const {
    QuantMatrix w = format().read(*this, "p", rows, cols, device);
    validate(w);
    return w;
  }
  QuantMatrix read() const {
    const Shape shape = format().shape(*this, "p");
    return read({0, shape[0]}, {0, shape[1]});
  }
  // What reading throws, as "code: message".
  std::string read_error() const {
    try {
      (void)read();
    } catch (const Error& e) {
      return quern::format("{}: {}", name_of(e.code()), e.message());
    }
    return "nothing";
  }

 private:
  struct Entry {
    TensorInfo info;
    std::vector<std::byte> bytes;  // behind one byte: at an odd address, as files may have them
  };
  Config config_;
  std::map<std::string, Entry, std::less<>> entries_;
};

// Fields as a stream of bits, lowest first, in 32-bit words; the rest of the last word is zero.
inline std::vector<uint32_t> packed(const std::vector<int>& fields, int bits) {
  std::vector<uint32_t> words((fields.size() * static_cast<size_t>(bits) + 31) / 32);
  for (size_t i = 0; i < fields.size(); ++i)
    for (int b = 0; b < bits; ++b)
      if (fields[i] >> b & 1) {
        const size_t at = i * static_cast<size_t>(bits) + static_cast<size_t>(b);
        words[at / 32] |= uint32_t{1} << (at % 32);
      }
  return words;
}

// Pseudo-random numbers below `limit`.
class Numbers {
 public:
  int next(int limit) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<int>((state_ >> 33) % static_cast<uint64_t>(limit));
  }
  std::vector<int> list(int64_t count, int limit) {
    std::vector<int> out;
    for (int64_t i = 0; i < count; ++i) out.push_back(next(limit));
    return out;
  }

 private:
  uint64_t state_ = 7;
};

// Parts of a few row granules by one column granule each equal the same part of the whole.
inline void expect_parts_equal_whole(const LayerCheckpoint& checkpoint) {
  const Granule granule = checkpoint.format().granule(checkpoint, "p");
  const Tensor whole = dequantize(checkpoint.read());
  const int64_t n = whole.dim(0), k = whole.dim(1);
  const int64_t step = std::max(granule.rows, n / 3 / granule.rows * granule.rows);
  for (int64_t row = 0; row < n; row += step)
    for (int64_t col = 0; col < k; col += granule.cols) {
      const Range rows{row, std::min(n, row + 2 * granule.rows)};
      const Range cols{col, std::min(k, col + granule.cols)};
      const Tensor part = dequantize(checkpoint.read(rows, cols));
      for (int64_t r = 0; r < rows.size(); ++r)
        for (int64_t c = 0; c < cols.size(); ++c)
          ASSERT_EQ(part.data<float>()[r * cols.size() + c],
                    whole.data<float>()[(row + r) * k + col + c])
              << row + r << ", " << col + c;
    }
}

}  // namespace quern
