// SPDX-License-Identifier: Apache-2.0
// The formats behind weight_formats(), one function per file of this folder. Private to the room.
#pragma once

#include "weights/weight_format.h"

namespace quern {

const WeightFormat& plain_format();               // f32, f16, bf16 as they are; f64 becomes f32
const WeightFormat& gguf_format();                // GGUF's block types
const WeightFormat& gptq_format();                // GPTQ of 2, 3, 4 and 8 bits, versions 1 and 2
const WeightFormat& awq_format();                 // AWQ: gemm, gemv and gemv_fast
const WeightFormat& fp8_format();                 // floats of 8 bits with scales, in every spelling
const WeightFormat& fp4_format();                 // NVFP4 and MXFP4
const WeightFormat& compressed_tensors_format();  // its packed and 8-bit integers
const WeightFormat& bitsandbytes_format();        // NF4, FP4 and INT8

// The matrix behind `prefix`: null if there is no `prefix`.weight of at least two axes. Further
// axes (a convolution's) are flattened into K.
const TensorInfo* find_matrix(const Checkpoint& checkpoint, std::string_view prefix);
Shape matrix_shape(const TensorInfo& info);
// A contract of read(): the ranges lie in the matrix, and begin and end at granules or the edge.
void check_ranges(const Shape& matrix, Range rows, Range cols, Granule granule);
// `prefix`.weight, for formats of that one tensor; the second also checks what read() is asked for.
const TensorInfo& weight_under(const Checkpoint& checkpoint, std::string_view prefix);
const TensorInfo& weight_to_read(
    const Checkpoint& checkpoint, std::string_view prefix, Range rows, Range cols, Granule granule);
// The stored row that holds row r.
inline int64_t stored_row(const TensorInfo& info, int64_t r) {
  return info.row_order.empty() ? r : info.row_order[static_cast<size_t>(r)];
}

}  // namespace quern
