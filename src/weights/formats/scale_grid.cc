// SPDX-License-Identifier: Apache-2.0
#include "weights/formats/scale_grid.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/half.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr int64_t kUsualBlock = 128;

int64_t blocks(int64_t length, int64_t block) {
  return block == 0 ? 1 : (length + block - 1) / block;
}

Shape grid_of(const Shape& matrix, const BlockSize& block) {
  return {blocks(matrix[0], block.rows), blocks(matrix[1], block.cols)};
}

// As two axes: [] is [1, 1], [N] is [N, 1].
std::optional<Shape> as_grid(const Shape& shape) {
  if (shape.rank() > 2) return std::nullopt;
  return Shape{shape.rank() > 0 ? shape[0] : 1, shape.rank() > 1 ? shape[1] : 1};
}

std::optional<BlockSize> told_from(const Shape& grid, const Shape& matrix) {
  if (grid == Shape{1, 1}) return BlockSize{0, 0};
  const int64_t n = matrix[0], k = matrix[1], groups = grid[1];
  if (grid == Shape{n, 1}) return BlockSize{1, 0};
  if (grid[0] == n && groups > 0 && k % groups == 0) return BlockSize{1, k / groups};
  const BlockSize usual{kUsualBlock, kUsualBlock};
  if (grid == grid_of(matrix, usual)) return usual;
  return std::nullopt;
}

std::string text_of(const BlockSize& block) {
  const auto axis = [](int64_t size) { return size == 0 ? "all" : std::to_string(size); };
  return format("{} x {}", axis(block.rows), axis(block.cols));
}

// The items of a part of the grid, as they are stored.
Tensor read_items(const Checkpoint& checkpoint,
                  const ScaleGrid& grid,
                  DType dtype,
                  const Part& part) {
  const int64_t step = rows_per_line(grid.block, part.rows.begin);
  const Tensor out =
      Tensor::empty({blocks(part.rows.size(), step), blocks(part.cols.size(), grid.block.cols)},
                    dtype,
                    part.device);
  if (part.device.is_meta() || out.numel() == 0) return out;
  const int64_t item = bits_of(dtype) / 8, width = out.dim(1) * item;
  const int64_t first = grid.block.cols == 0 ? 0 : part.cols.begin / grid.block.cols;
  const std::byte* from = checkpoint.bytes(grid.name).data();
  for (int64_t line = 0; line < out.dim(0); ++line) {
    const int64_t row = step == 0 ? 0 : (part.rows.begin + line * step) / grid.block.rows;
    std::memcpy(out.raw() + line * width,
                from + (row * grid.shape[1] + first) * item,
                static_cast<size_t>(width));
  }
  return out;
}

// 2^(b - 127) as bf16, whose exponent has the same place and bias; 0 stands for 2^-127, which is
// subnormal there. 255 becomes infinite: it means NaN.
uint16_t e8m0_to_bf16(uint8_t bits) {
  return bits == 0 ? uint16_t{0x0040} : static_cast<uint16_t>(bits << 7);
}

// What a scale of 8 bits means, as bf16.
using Widened = std::array<uint16_t, 256>;

Widened widened_e8m0() {
  Widened out;
  for (size_t i = 0; i < out.size(); ++i) out[i] = e8m0_to_bf16(static_cast<uint8_t>(i));
  return out;
}

Widened widened_e4m3() {
  std::array<uint8_t, 256> codes;
  std::iota(codes.begin(), codes.end(), uint8_t{0});
  const Tensor values = to_f32(Tensor::borrow(codes.data(), {256}, DType::f8_e4m3));
  Widened out;
  std::ranges::transform(values.span<float>(), out.begin(), float_to_bf16);
  return out;
}

// Bytes of e8m0 (as u8) or e4m3 to bf16.
Tensor widen(const Tensor& items) {
  static const Widened kE8m0 = widened_e8m0(), kE4m3 = widened_e4m3();
  Tensor out = Tensor::empty(items.shape(), DType::bf16, items.device());
  if (items.device().is_meta()) return out;
  const Widened& table = items.dtype() == DType::u8 ? kE8m0 : kE4m3;
  std::ranges::transform(
      items.span<uint8_t>(), out.data<uint16_t>(), [&](uint8_t v) { return table[v]; });
  return out;
}

// An exponent of ones in a float of 16 or 32 bits.
template <typename T>
bool all_finite(const Tensor& t, T exponent) {
  bool finite = true;  // no early end: vectors of numbers are compared at once
  for (const T v : t.span<T>()) finite &= (v & exponent) != exponent;
  return finite;
}

bool is_finite(const Tensor& t) {
  if (t.device().is_meta()) return true;
  if (t.dtype() == DType::f32) return all_finite<uint32_t>(t, 0x7f800000u);
  return all_finite<uint16_t>(t, t.dtype() == DType::f16 ? 0x7c00 : 0x7f80);
}

// The type in which scales are copied from the file.
DType scale_dtype(const TensorInfo& info) {
  switch (info.stored) {
    case Stored::f32:
    case Stored::f16:
    case Stored::bf16:
    case Stored::f8_e4m3:
      return *dtype_of(info.stored);
    case Stored::f8_e8m0:
    case Stored::u8:
      return DType::u8;
    default:
      fail(ErrorCode::unsupported,
           "{}: stored as {}: expected scales of f32, f16, bf16, e4m3 or e8m0",
           info.name,
           name_of(info.stored));
  }
}

}  // namespace

ScaleGrid scale_grid(const Checkpoint& checkpoint,
                     const std::string& name,
                     const Shape& matrix,
                     const std::optional<BlockSize>& stated) {
  const Shape& stored = checkpoint.info(name).shape;
  const std::optional<Shape> grid = as_grid(stored);
  if (stated && (!grid || *grid != grid_of(matrix, *stated)))
    fail(ErrorCode::data_loss,
         "{}: expected {}, one number for each {} block of {} as {} says, got {}; file and "
         "configuration do not belong together",
         name,
         grid_of(matrix, *stated).text(),
         text_of(*stated),
         matrix.text(),
         checkpoint.config().path(),
         stored.text());
  const std::optional<BlockSize> block = stated ? stated : grid ? told_from(*grid, matrix) : stated;
  if (!block)
    fail(ErrorCode::data_loss,
         "{}: expected numbers for all, for the rows, for whole groups or for 128 x 128 blocks of "
         "{}, got {}; is the file damaged?",
         name,
         matrix.text(),
         stored.text());
  return {name, *block, *grid};
}

int64_t rows_per_line(const BlockSize& block, int64_t begin) {
  return std::gcd(block.rows, block.rows == 0 ? 0 : begin % block.rows);
}

Tensor read_scales(const Checkpoint& checkpoint, const ScaleGrid& grid, const Part& part) {
  Tensor scales = read_items(checkpoint, grid, scale_dtype(checkpoint.info(grid.name)), part);
  if (bits_of(scales.dtype()) == 8) scales = widen(scales);
  expect_finite(scales, grid.name);
  return scales;
}

Tensor read_byte_grid(const Checkpoint& checkpoint,
                      const ScaleGrid& grid,
                      DType dtype,
                      const Part& part) {
  return read_items(checkpoint, grid, dtype, part);
}

void expect_finite(const Tensor& scales, std::string_view name) {
  if (is_finite(scales)) return;
  fail(ErrorCode::data_loss,
       "{}: expected finite scales, got NaN or infinity; is the file damaged?",
       name);
}

float read_scalar(const Checkpoint& checkpoint, const std::string& name) {
  const TensorInfo& info = checkpoint.info(name);
  if (info.stored != Stored::f32 || info.shape.numel() != 1)
    fail(ErrorCode::data_loss,
         "{}: expected one f32 number, got {} {}",
         name,
         name_of(info.stored),
         info.shape.text());
  float value = 0;
  std::memcpy(&value, checkpoint.bytes(name).data(), sizeof value);
  if (!std::isfinite(value))
    fail(ErrorCode::data_loss, "{}: expected a finite number, got {}", name, value);
  return value;
}

Tensor read_byte_matrix(const Checkpoint& checkpoint,
                        const std::string& name,
                        DType dtype,
                        const Part& part) {
  const Shape size{part.rows.size(), part.cols.size()};
  if (part.device.is_meta()) return Tensor::empty(size, dtype, part.device);
  const int64_t width = checkpoint.info(name).shape[1];
  const std::byte* from = checkpoint.bytes(name).data() + part.rows.begin * width + part.cols.begin;
  if (size[1] == width) return Tensor::borrow(from, size, dtype);
  Tensor out = Tensor::empty(size, dtype);
  for (int64_t r = 0; r < size[0] && size[1] > 0; ++r)
    std::memcpy(out.raw() + r * size[1], from + r * width, static_cast<size_t>(size[1]));
  return out;
}

const TensorInfo& sibling(const Checkpoint& checkpoint,
                          const std::string& name,
                          std::string_view because) {
  const TensorInfo* info = checkpoint.find(name);
  if (info == nullptr)
    fail(ErrorCode::data_loss,
         "{}: expected beside {}, but there is no such tensor; is the checkpoint complete?",
         name,
         because);
  return *info;
}

}  // namespace quern
