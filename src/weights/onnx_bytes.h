// SPDX-License-Identifier: Apache-2.0
// For tests: writes messages of Protocol Buffers.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace quern::onnx_bytes {

inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
inline std::string number(uint32_t field, uint64_t value) {
  return varint(field << 3) + varint(value);
}
inline std::string message(uint32_t field, const std::string& bytes) {
  return varint(field << 3 | 2) + varint(bytes.size()) + bytes;
}
inline std::string float32(uint32_t field, float value) {
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  return varint(field << 3 | 5) + std::string(bytes, sizeof(bytes));
}

}  // namespace quern::onnx_bytes
