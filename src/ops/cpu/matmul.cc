// SPDX-License-Identifier: Apache-2.0
// Drives the tiles over panels and rows. Rows of x are rounded and laid out in blocks once; then every (row block, panel
// group) is one job. A job walks the k blocks outside, so that a block of weights serves all its rows from the near cache;
// with few rows it simply streams its panel from memory.
#include "ops/cpu/matmul.h"

#include <algorithm>
#include <cstring>

#include "ops/cpu/kernels.h"
#include "ops/pack.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

constexpr int64_t kPassRows = 1024;  // rows laid out at one time: bounds the scratch
constexpr int64_t kJobRows = 192;    // a multiple of every tile height
constexpr int64_t kJobPanels = 4;    // when there are many rows

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

const MatmulTiles& tiles_for(Isa isa) {
  if (isa >= Isa::avx512_bf16) return kTilesAvx512Bf16;
  return isa == Isa::avx512 ? kTilesAvx512 : kTilesAvx2;
}

// The packed form of W; see tiles.h. Rows beyond N and, for bf16, an odd last k are zero.
class PanelWeight final : public PackedWeight {
 public:
  PanelWeight(Device device, Isa isa, const Shape& shape, DType storage)
      : PackedWeight(device), isa_(isa), rows_(shape[0]), cols_(shape[1]), padded_cols_(storage == DType::bf16 ? (cols_ + 1) / 2 * 2 : cols_),
        data_(Tensor::empty({ceil_div(rows_, kPanel), padded_cols_, kPanel}, storage, device)) {}

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return data_.bytes(); }
  std::string kernel() const override { return quern::format("{}.{}", tiles_for(isa_).name, name_of(data_.dtype())); }
  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override;

  const Tensor& data() const { return data_; }
  int64_t padded_cols() const { return padded_cols_; }

 private:
  Isa isa_;
  int64_t rows_, cols_, padded_cols_;
  Tensor data_;
};

// One pass of a product: up to kPassRows rows of x in blocks, and how to multiply them.
struct Pass {
  const PanelWeight& w;
  const RowKernels& convert;
  const TileFamily& family;
  int tile_rows;
  DType x_kind;     // what x is rounded to
  bool is_dot;      // x is laid out as bf16
  std::byte* blocks;
  int64_t rows = 0;

  int64_t stride_bytes() const { return is_dot ? kStrideBf16 * 2 : kStrideF32 * 4; }
  std::byte* block_row(int64_t block, int64_t row) const { return blocks + (block * rows + row) * stride_bytes(); }

  void lay_out(const float* x, int64_t row) const;
  void multiply(int64_t first_row, int64_t row_count, int64_t panel, float* sums) const;
};

// Rounds one row and cuts it into its blocks.
void Pass::lay_out(const float* x, int64_t row) const {
  const int64_t cols = w.cols();
  uint16_t narrow[kBlock];
  for (int64_t block = 0; block * kBlock < cols; ++block) {
    const float* source = x + block * kBlock;
    const int64_t n = std::min(kBlock, cols - block * kBlock);
    auto* wide = reinterpret_cast<float*>(block_row(block, row));
    if (is_dot) {
      auto* out = reinterpret_cast<uint16_t*>(block_row(block, row));
      convert.narrow_bf16(source, n, out);
      if (n % 2 != 0) out[n] = 0;
      continue;
    }
    if (x_kind == DType::bf16) {
      convert.narrow_bf16(source, n, narrow);
      convert.widen_bf16(narrow, n, wide);
    } else if (x_kind == DType::f16) {
      convert.narrow_f16(source, n, narrow);
      convert.widen_f16(narrow, n, wide);
    } else {
      std::copy_n(source, n, wide);
    }
    if (n % 2 != 0) wide[n] = 0;
  }
}

// sums [row_count, kPanel] += x rows times one panel, over the k blocks in order.
void Pass::multiply(int64_t first_row, int64_t row_count, int64_t panel, float* sums) const {
  const int64_t cols = w.padded_cols(), element = bits_of(w.data().dtype()) / 8;
  const int64_t k_per_step = w.data().dtype() == DType::bf16 ? 2 : 1;
  for (int64_t k = 0; k < cols; k += kBlock) {
    const std::byte* weights = w.data().raw() + (panel * cols + k) * kPanel * element;
    const int64_t steps = std::min(kBlock, cols - k) / k_per_step;
    for (int64_t row = 0; row < row_count; row += tile_rows) {
      const int64_t height = std::min<int64_t>(tile_rows, row_count - row);
      family.tile[height - 1](block_row(k / kBlock, first_row + row), weights, steps, sums + row * kPanel);
    }
  }
}

// Copies a panel's sums, with the bias, to their columns of y.
void write_out(const float* sums, int64_t row_count, const float* bias, int64_t columns, float* y, int64_t y_stride) {
  for (int64_t row = 0; row < row_count; ++row, sums += kPanel, y += y_stride)
    for (int64_t n = 0; n < columns; ++n) y[n] = bias != nullptr ? sums[n] + bias[n] : sums[n];
}

void run_job(const Pass& pass, int64_t first_row, Range panels, const float* bias, float* y) {
  alignas(64) float sums[kJobRows * kPanel];
  const int64_t row_count = std::min(kJobRows, pass.rows - first_row), n_size = pass.w.rows();
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    std::fill_n(sums, row_count * kPanel, 0.0f);
    pass.multiply(first_row, row_count, panel, sums);
    const int64_t n = panel * kPanel;
    write_out(sums, row_count, bias != nullptr ? bias + n : nullptr, std::min(kPanel, n_size - n), y + first_row * n_size + n, n_size);
  }
}

void PanelWeight::multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const {
  const MatmulTiles& tiles = tiles_for(ctx.isa);
  const DType kind = x_dtype(ctx.activation);
  const bool is_dot = kind == DType::bf16 && data_.dtype() == DType::bf16 && tiles.bf16_dot != nullptr;
  const TileFamily& family = is_dot                       ? *tiles.bf16_dot
                             : data_.dtype() == DType::bf16 ? tiles.bf16
                             : data_.dtype() == DType::f16  ? tiles.f16
                                                          : tiles.f32;
  const int64_t count = x.dim(0), most = std::min(count, kPassRows), blocks = ceil_div(cols_, kBlock);
  const Tensor scratch = ctx.empty({blocks * most, is_dot ? kStrideBf16 : kStrideF32}, is_dot ? DType::bf16 : DType::f32);
  if (ctx.device.is_meta()) return;
  Pass pass{*this, row_kernels(ctx.isa), family, tiles.rows, kind, is_dot, scratch.raw()};
  const int64_t panels = ceil_div(rows_, kPanel), panels_per_job = count > tiles.rows ? kJobPanels : 1;
  const int64_t groups = ceil_div(panels, panels_per_job);
  for (int64_t first = 0; first < count; first += kPassRows) {
    pass.rows = std::min(kPassRows, count - first);
    ctx.pool->parallel_for(pass.rows, 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t) pass.lay_out(x.data<float>() + (first + t) * x.stride(0), t);
    });
    ctx.pool->parallel_for(ceil_div(pass.rows, kJobRows) * groups, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t job = begin; job < end; ++job) {
        const int64_t group = job % groups;
        const Range range{group * panels_per_job, std::min(panels, (group + 1) * panels_per_job)};
        run_job(pass, job / groups * kJobRows, range, bias.data<float>(), y.data<float>() + first * rows_);
      }
    });
  }
}

// Writes rows [n, n + count) of W, given row by row, into their lanes: 16 inputs of all rows at a time, so that the lines of
// a panel are filled while they are near.
template <typename T>
void scatter(const Tensor& packed, int64_t n, int64_t count, const T* source, int64_t stride, int64_t cols) {
  constexpr int64_t kStep = 16;
  const int64_t padded = packed.dim(1), pair = packed.dtype() == DType::bf16 ? 2 : 1;
  T* data = packed.data<T>();
  for (int64_t k0 = 0; k0 < cols; k0 += kStep)
    for (int64_t i = 0; i < count; ++i) {
      T* panel = data + (n + i) / kPanel * padded * kPanel + (n + i) % kPanel * pair;
      const T* row = source + i * stride;
      for (int64_t k = k0; k < std::min(cols, k0 + kStep); ++k) panel[k / pair * pair * kPanel + k % pair] = row[k];
    }
}

// Rows that no scale block straddles and that are worth a thread's while.
int64_t rows_per_chunk(const QuantMatrix& part) {
  const int64_t step = row_step(part);
  return step * std::max<int64_t>(1, 64 / step);
}

void pack_rows(const RowKernels& kernels, const QuantMatrix& part, Range rows, int64_t n, const Tensor& packed) {
  const int64_t cols = part.cols();
  if (part.is_plain() && part.column_order.empty() && part.codes.dtype() == packed.dtype() && part.codes.stride(1) == 1) {
    const std::byte* source = part.codes.raw() + bytes_of(packed.dtype(), rows.begin * part.codes.stride(0));
    if (packed.dtype() == DType::f32)
      return scatter(packed, n, rows.size(), reinterpret_cast<const float*>(source), part.codes.stride(0), cols);
    return scatter(packed, n, rows.size(), reinterpret_cast<const uint16_t*>(source), part.codes.stride(0), cols);
  }
  const Tensor wide = dequantize(slice_rows(part, rows.begin, rows.end));
  if (packed.dtype() == DType::f32) return scatter(packed, n, rows.size(), wide.data<float>(), cols, cols);
  const Tensor narrow = Tensor::empty(wide.shape(), packed.dtype());
  (packed.dtype() == DType::bf16 ? kernels.narrow_bf16 : kernels.narrow_f16)(wide.data<float>(), wide.numel(), narrow.data<uint16_t>());
  scatter(packed, n, rows.size(), narrow.data<uint16_t>(), cols, cols);
}

// The lanes of absent rows and the odd k of a last pair.
void clear_padding(const PanelWeight& w) {
  const Tensor& data = w.data();
  const auto line = static_cast<size_t>(bytes_of(data.dtype(), kPanel)) * (data.dtype() == DType::bf16 ? 2 : 1);
  if (w.rows() % kPanel != 0) {
    const Tensor last = data.select(0, data.dim(0) - 1);
    std::memset(last.raw(), 0, static_cast<size_t>(last.bytes()));
  }
  if (w.padded_cols() != w.cols())
    for (int64_t panel = 1; panel <= data.dim(0); ++panel)
      std::memset(data.raw() + bytes_of(data.dtype(), panel * w.padded_cols() * kPanel) - line, 0, line);
}

}  // namespace

std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx, const std::vector<QuantMatrix>& parts, DType storage) {
  auto w = std::make_unique<PanelWeight>(ctx.device, ctx.isa, Shape{stacked_rows(parts), parts[0].cols()}, storage);
  if (ctx.device.is_meta() || w->rows() == 0) return w;
  clear_padding(*w);
  int64_t n = 0;
  for (const QuantMatrix& part : parts) {
    validate(part);
    const int64_t chunk = rows_per_chunk(part);
    ctx.pool->parallel_for(ceil_div(part.rows(), chunk), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const Range rows{i * chunk, std::min(part.rows(), (i + 1) * chunk)};
        pack_rows(row_kernels(ctx.isa), part, rows, n + rows.begin, w->data());
      }
    });
    n += part.rows();
  }
  return w;
}

}  // namespace quern::ops::cpu
