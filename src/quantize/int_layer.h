// SPDX-License-Identifier: Apache-2.0
// IntLayer: one linear layer of 4 or 8 bit codes as values alone, and the tensors that each layout
// makes of it. What a layout cannot say exactly is refused by name.
#pragma once

#include <string>
#include <vector>

#include "weights/checkpoint.h"

namespace quern {

enum class IntLayout : uint8_t { awq, gptq, compressed_tensors };
IntLayout parse_layout(std::string_view name);  // "awq", "gptq", "compressed-tensors"

// w[n, k] = scales[n, g] (codes[n, k] - zeros[n, g]),  g = the group of input k
struct IntLayer {
  int bits = 4;  // or 8
  int64_t rows = 0, cols = 0, group = 0, groups = 0;
  std::vector<uint8_t> codes;     // [rows, cols] in the order of inputs
  std::vector<uint8_t> zeros;     // [rows, groups], up to 16 where read from 4 bits
  Tensor scales;                  // [rows, groups], f16 or bf16
  std::vector<int32_t> of_group;  // [cols]: the group of each input; empty where k / group

  int middle() const { return 1 << (bits - 1); }  // the code that means 0 without zero points
  bool is_symmetric() const;                      // every zero point is middle()
};

// Reads the layer `prefix`. Throws unsupported where it is no layer of 4-bit integers in groups.
IntLayer read_int4(const Checkpoint& checkpoint, const std::string& prefix);

// What all layers together need of a layout.
struct IntNeeds {
  bool has_zeros = false;  // some zero point is not middle()
  int bits = 4;
  int lowest_zero = 256, highest_zero = 0;
  bool has_order = false;  // some group is scattered
  int64_t group = 0;       // -1: they differ
  void add(const IntLayer& layer);
};
// Throws unsupported naming what the layout cannot say.
void expect_exact(IntLayout layout, const IntNeeds& needs);

struct NamedTensor {
  std::string name;  // "model.layers.0.mlp.up_proj.qweight"
  Stored stored = Stored::i32;
  Shape shape;
  std::vector<std::byte> bytes;
};
// The layer in a layout. Throws unsupported where its scales are not exact in the layout's type.
std::vector<NamedTensor> write_int_layer(const IntLayer& layer,
                                         const std::string& prefix,
                                         IntLayout layout,
                                         const IntNeeds& needs);
// A layer of 8 bits without zero points and one group, as compressed-tensors int-quantized: weight
// i8 [N, K], weight_scale [N, 1].
std::vector<NamedTensor> write_bytes_layer(const IntLayer& layer, const std::string& prefix);

}  // namespace quern
