// SPDX-License-Identifier: Apache-2.0
// Rounding of weights to whole numbers in groups, and to 8-bit floats.
//
//   w[n, k] ~ scale (code - zero), 0 <= code < 2^bits, one scale and zero for each `group` inputs
//
// Symmetric: zero = 2^(bits - 1), scale = 2 max|w| / (2^bits - 1), as GPTQ and compressed-tensors
// have it. Otherwise the range from min(w, 0) to max(w, 0) is divided evenly. Codes are chosen
// against the scale as it is stored, in 16 bits.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "quantize/int_layer.h"
#include "tensor/tensor.h"

namespace quern {

struct IntGrid {
  int bits = 4;
  int64_t group = 128;  // -1: all inputs
  bool is_symmetric = true;
  DType scales = DType::f16;  // or bf16

  int64_t group_of(int64_t cols) const { return group < 0 ? cols : group; }
};

struct GroupRange {
  float scale = 1;
  int zero = 0;
};
// Throws unsupported naming the layer where a 16-bit scale cannot hold its largest weight; what
// follows expects that it can.
void expect_storable(const Tensor& weights, const IntGrid& grid, std::string_view name);
// The range of some weights, made smaller by `shrink`.
GroupRange range_of(std::span<const float> weights, const IntGrid& grid, float shrink = 1);

// The code of a weight, and what it decodes to.
int code_of(float weight, const GroupRange& range, int bits);
inline float decoded(int code, const GroupRange& range) {
  return range.scale * static_cast<float>(code - range.zero);
}

inline constexpr int64_t kMostGramInputs = 128;

// How much an error of some weights matters: e' gram e, or sum of diagonal[k] e[k]^2; with neither,
// the plain sum of squares.
struct ErrorWeight {
  const float* diagonal = nullptr;
  const float* gram = nullptr;  // of at most kMostGramInputs
  int64_t stride = 0;           // of gram's rows
};
// The best of the shrunken ranges from 1 to 0.5, in steps of 0.05.
GroupRange search_range(std::span<const float> weights,
                        const IntGrid& grid,
                        const ErrorWeight& weight);

// What was decided for a layer: the tensors of its layout, and what they decode to.
struct RoundedLayer {
  std::vector<NamedTensor> tensors;
  Tensor values;  // [N, K] float32
};

// An IntLayer of these sizes, its codes and ranges to be set.
IntLayer empty_layer(int64_t rows, int64_t cols, const IntGrid& grid);
void set_range(IntLayer& layer, int64_t row, int64_t group, const GroupRange& range);
// [N, K] float32.
Tensor values_of(const IntLayer& layer);

// How a group's range is found: from its largest weights, or by search_range, weighted by what is
// known of each input, or of all pairs of inputs of a group.
enum class RangeSearch : uint8_t { none, by_importance, by_gram };
// Each weight to its nearest code. importance [K], or empty: inputs count alike. gram [K, K] where
// asked for.
IntLayer round_to_nearest(ThreadPool& pool,
                          const Tensor& weights,
                          const IntGrid& grid,
                          RangeSearch searches,
                          std::span<const float> importance = {},
                          const Tensor& gram = {});

// A matrix of e4m3 being decided: one scale for each row, or for each block of 128 x 128, by its
// largest weight as it is. Threads may be at different places.
class E4m3Matrix {
 public:
  // weights [N, K]. Rows' scales are stored as `scales` (f16 or bf16), blocks' as float32.
  static E4m3Matrix with_rows(ThreadPool& pool, const Tensor& weights, DType scales);
  static E4m3Matrix with_blocks(ThreadPool& pool, const Tensor& weights);

  // The nearest code; returns what it decodes to.
  float put(int64_t row, int64_t col, float weight);
  void put_row(int64_t row, std::span<const float> weights);
  // weight, and weight_scale [N, 1] or weight_scale_inv [N / 128, K / 128].
  RoundedLayer finish(const std::string& name) &&;

 private:
  E4m3Matrix(ThreadPool& pool, const Tensor& weights, int64_t height, int64_t width, DType scales);

  int64_t height_, width_, across_;  // of a block, and blocks side by side
  DType scales_;
  std::vector<float> steps_;  // [blocks down, blocks across], as they are stored
  std::vector<std::byte> codes_;
  Tensor values_;
};

// Each weight to the nearest code.
RoundedLayer round_to_nearest(ThreadPool& pool,
                              const Tensor& weights,
                              E4m3Matrix out,
                              const std::string& name);

}  // namespace quern
