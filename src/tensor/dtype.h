// SPDX-License-Identifier: Apache-2.0
// Element kinds. Sizes are counted in bits: some kinds are smaller than a byte.
#pragma once

#include <cstdint>
#include <string_view>

namespace quern {

enum class DType : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  i64,
  i32,
  i16,
  i8,
  u8,
  i4,
  u4,
  boolean
};

int bits_of(DType dtype);
std::string_view name_of(DType dtype);

// Bytes of `count` elements, rounded up to a whole byte.
inline int64_t bytes_of(DType dtype, int64_t count) {
  return (count * bits_of(dtype) + 7) / 8;
}

}  // namespace quern
