// SPDX-License-Identifier: Apache-2.0
// For the tests of this folder: reading a layer, and what a refusal says.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "base/error.h"
#include "weights/formats/memory_checkpoint.h"
#include "weights/weight_format.h"

namespace quern {

inline QuantMatrix read_layer(const Checkpoint& checkpoint,
                              std::string_view prefix,
                              Range rows,
                              Range cols) {
  QuantMatrix w = format_of(checkpoint, prefix).read(checkpoint, prefix, rows, cols, Device::cpu());
  validate(w);
  return w;
}

inline QuantMatrix read_layer(const Checkpoint& checkpoint, std::string_view prefix) {
  const Shape shape = format_of(checkpoint, prefix).shape(checkpoint, prefix);
  return read_layer(checkpoint, prefix, {0, shape[0]}, {0, shape[1]});
}

inline std::vector<float> values_of(const QuantMatrix& w) {
  const Tensor values = dequantize(w);
  return {values.span<float>().begin(), values.span<float>().end()};
}

// "unsupported: message" of the error that reading the layer ends with.
inline std::string refusal(const Checkpoint& checkpoint, std::string_view prefix) {
  try {
    read_layer(checkpoint, prefix);
  } catch (const Error& e) {
    return format("{}: {}", name_of(e.code()), e.what());
  }
  return "read";
}

// Every cut of rows in `row_step`s and columns in granules gives what the whole gives there.
inline void expect_parts_equal_whole(const Checkpoint& checkpoint,
                                     std::string_view prefix,
                                     int64_t row_step) {
  const WeightFormat& format = format_of(checkpoint, prefix);
  const Shape shape = format.shape(checkpoint, prefix);
  const int64_t col_step = format.granule(checkpoint, prefix).cols;
  const Tensor whole = dequantize(read_layer(checkpoint, prefix));
  for (int64_t r = 0; r < shape[0]; r += row_step)
    for (int64_t c = 0; c < shape[1]; c += col_step) {
      const Range rows{r, std::min(r + row_step, shape[0])};
      const Range cols{c, std::min(c + 2 * col_step, shape[1])};
      const Tensor part = dequantize(read_layer(checkpoint, prefix, rows, cols));
      EXPECT_TRUE(std::ranges::equal(part.span<float>(),
                                     whole.slice(0, rows.begin, rows.end)
                                         .slice(1, cols.begin, cols.end)
                                         .contiguous()
                                         .span<float>()))
          << "rows from " << r << ", columns from " << c;
    }
}

// Numbers that look random and are the same everywhere.
class Noise {
 public:
  uint32_t operator()() { return (state_ = state_ * 1664525u + 1013904223u) >> 8; }
  uint32_t below(uint32_t n) { return (*this)() % n; }

 private:
  uint32_t state_ = 42;
};

// FNV-1a over the float32 bytes: what scripts with the reference tools printed.
inline uint64_t hash_of(const std::vector<float>& values) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const float value : values)
    for (uint32_t bits = std::bit_cast<uint32_t>(value), i = 0; i < 4; ++i, bits >>= 8)
      hash = (hash ^ (bits & 255)) * 0x100000001b3;
  return hash;
}

}  // namespace quern
