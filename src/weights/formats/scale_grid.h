// SPDX-License-Identifier: Apache-2.0
// ScaleGrid: the scales (or zero points) of a matrix, one number per block, and any range of them.
// Shared by the formats that store [blocks along N, blocks along K]. Private to the room.
#pragma once

#include <optional>
#include <string>

#include "weights/weight_format.h"

namespace quern {

// How a matrix is divided; 0: the whole axis. {0, 0} one number for all, {1, 0} one a row, {1, g}
// groups along K.
struct BlockSize {
  int64_t rows = 0, cols = 0;
};

// What read() is asked for. `cols` begins at a block.
struct Part {
  Range rows, cols;
  Device device;
};

struct ScaleGrid {
  std::string name;  // of the tensor
  BlockSize block;
  Shape shape;  // [blocks along N, blocks along K]
};

// How the tensor `name` divides a [N, K] matrix: as stated, or told from its shape: [] or [1] for
// all, [N] or [N, 1] one a row, [N, G] groups, else blocks of 128 x 128. Throws data_loss where the
// shape is another.
ScaleGrid scale_grid(const Checkpoint& checkpoint,
                     const std::string& name,
                     const Shape& matrix,
                     const std::optional<BlockSize>& stated);

// The number of rows that share a line of a range that begins at row `begin`: a whole block, or a
// part of it, whose line is then repeated.
int64_t rows_per_line(const BlockSize& block, int64_t begin);

// The scales of a part, one line per rows_per_line(). f32, f16 and bf16 stay as they are; e4m3 and
// e8m0 become bf16, which holds all of both; u8 is read as e8m0. Throws data_loss for NaN and
// infinity, unsupported for another type. On meta: the shape.
Tensor read_scales(const Checkpoint& checkpoint, const ScaleGrid& grid, const Part& part);
// The same of bytes, as they are.
Tensor read_byte_grid(const Checkpoint& checkpoint,
                      const ScaleGrid& grid,
                      DType dtype,
                      const Part& part);
// Throws data_loss naming the tensor for NaN and infinity in scales of f32, f16 or bf16.
void expect_finite(const Tensor& scales, std::string_view name);

// The one number of a float32 tensor. Throws data_loss where it is another type, more than one
// number, or not finite.
float read_scalar(const Checkpoint& checkpoint, const std::string& name);

// A part of the matrix `name`, whose elements take one byte: borrowed from the mapping where rows
// are whole.
Tensor read_byte_matrix(const Checkpoint& checkpoint,
                        const std::string& name,
                        DType dtype,
                        const Part& part);

// The tensor `name` that must be there, because `because` is. Throws data_loss.
const TensorInfo& sibling(const Checkpoint& checkpoint,
                          const std::string& name,
                          std::string_view because);

}  // namespace quern
