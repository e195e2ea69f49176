// SPDX-License-Identifier: Apache-2.0
// GgufBytes: writes small GGUF files, right or wrong, for the tests of this room.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weights/gguf_metadata.h"

namespace quern {

template <typename T>
std::string little_endian(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(T));
}
inline std::string gguf_string(std::string_view text) {
  return little_endian<uint64_t>(text.size()) + std::string(text);
}

class GgufBytes {
 public:
  uint32_t version = 3;
  uint64_t extra_tensors = 0, extra_pairs = 0;  // claimed in the header and not there

  // A pair whose value is given as stored.
  GgufBytes& raw(std::string_view key, GgufType type, const std::string& value) {
    metadata_ += gguf_string(key) + little_endian(static_cast<uint32_t>(type)) + value;
    ++pairs_;
    return *this;
  }
  GgufBytes& u32(std::string_view key, uint32_t value) {
    return raw(key, GgufType::u32, little_endian(value));
  }
  GgufBytes& f32(std::string_view key, float value) {
    return raw(key, GgufType::f32, little_endian(value));
  }
  GgufBytes& boolean(std::string_view key, bool value) {
    return raw(key, GgufType::boolean, little_endian<uint8_t>(value));
  }
  GgufBytes& text(std::string_view key, std::string_view value) {
    return raw(key, GgufType::string, gguf_string(value));
  }
  GgufBytes& array(std::string_view key,
                   GgufType element,
                   uint64_t count,
                   const std::string& elements) {
    return raw(key,
               GgufType::array,
               little_endian(static_cast<uint32_t>(element)) + little_endian(count) + elements);
  }
  GgufBytes& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string elements;
    for (const std::string& value : values) elements += gguf_string(value);
    return array(key, GgufType::string, values.size(), elements);
  }
  GgufBytes& integers(std::string_view key, const std::vector<int32_t>& values) {
    std::string elements;
    for (const int32_t value : values) elements += little_endian(value);
    return array(key, GgufType::i32, values.size(), elements);
  }
  // `sizes` from the innermost, as in the file; `type` is the file's number. The data follows the
  // previous tensor's, aligned.
  GgufBytes& tensor(std::string_view name,
                    const std::vector<uint64_t>& sizes,
                    uint32_t type,
                    const std::string& data) {
    tensor_at(name, sizes, type, data_.size());
    data_ += data;
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  // A tensor that claims to lie at `offset`; adds no data.
  GgufBytes& tensor_at(std::string_view name,
                       const std::vector<uint64_t>& sizes,
                       uint32_t type,
                       uint64_t offset) {
    tensors_ += gguf_string(name) + little_endian(static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) tensors_ += little_endian(size);
    tensors_ += little_endian(type) + little_endian(offset);
    ++tensor_count_;
    return *this;
  }

  std::string file() const {
    std::string out = "GGUF" + little_endian(version) +
                      little_endian(tensor_count_ + extra_tensors) +
                      little_endian(pairs_ + extra_pairs) + metadata_ + tensors_;
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data_;
  }

  static constexpr size_t alignment = 32;

 private:
  std::string metadata_, tensors_, data_;
  uint64_t pairs_ = 0, tensor_count_ = 0;
};

// The keys that every family needs: 2 layers, 4 heads over 2 KV heads of size 4, hidden 16,
// inner 32.
inline GgufBytes gguf_model(const std::string& family) {
  GgufBytes out;
  out.text("general.architecture", family);
  out.u32(family + ".block_count", 2)
      .u32(family + ".context_length", 512)
      .u32(family + ".embedding_length", 16);
  out.u32(family + ".feed_forward_length", 32)
      .u32(family + ".attention.head_count", 4)
      .u32(family + ".attention.head_count_kv", 2);
  out.f32(family + ".attention.layer_norm_rms_epsilon", 1e-5f)
      .f32(family + ".rope.freq_base", 1e6f);
  return out;
}

}  // namespace quern
