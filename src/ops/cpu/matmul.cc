// SPDX-License-Identifier: Apache-2.0
// Drives the tiles over panels and rows. Rows of x are rounded and laid out in blocks once; then
// every (row block, panel group) is one job. A job walks the k blocks outside, so that a block of
// weights serves all its rows from the near cache; with few rows it simply streams its panel from
// memory.
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

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

const MatmulTiles& tiles_for(Isa isa) {
  if (isa >= Isa::avx512_bf16) return kTilesAvx512Bf16;
  return isa == Isa::avx512 ? kTilesAvx512 : kTilesAvx2;
}

// The packed form of W; see tiles.h. Rows beyond N and, for bf16, an odd last k are zero.
class PanelWeight final : public PackedWeight {
 public:
  PanelWeight(const Ctx& ctx, const std::vector<QuantMatrix>& parts, DType storage)
      : PackedWeight(ctx.device),
        isa_(ctx.isa),
        rows_(stacked_rows(parts)),
        cols_(parts[0].cols()),
        padded_cols_(storage == DType::bf16 ? (cols_ + 1) / 2 * 2 : cols_),
        data_(Tensor::empty(
            {ceil_div(rows_, kPanel), padded_cols_, kPanel}, storage, device_for(ctx, parts))) {}

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return data_.bytes(); }
  std::string kernel() const override {
    return quern::format("{}.{}", tiles_for(isa_).name, name_of(data_.dtype()));
  }
  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override;
  void each_tensor(FunctionRef<void(Tensor&)> visit) override { visit(data_); }

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
  DType x_kind;  // what x is rounded to
  bool is_dot;   // x is laid out as bf16
  std::byte* blocks;
  int64_t rows = 0;

  int64_t stride_bytes() const { return is_dot ? kStrideBf16 * 2 : kStrideF32 * 4; }
  std::byte* block_row(int64_t block, int64_t row) const {
    return blocks + (block * rows + row) * stride_bytes();
  }

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
      family.tile[height - 1](
          block_row(k / kBlock, first_row + row), weights, steps, sums + row * kPanel);
    }
  }
}

// Copies a panel's sums, with the bias, to their columns of y.
void write_out(const float* sums,
               int64_t row_count,
               const float* bias,
               int64_t columns,
               float* y,
               int64_t y_stride) {
  for (int64_t row = 0; row < row_count; ++row, sums += kPanel, y += y_stride)
    for (int64_t n = 0; n < columns; ++n) y[n] = bias != nullptr ? sums[n] + bias[n] : sums[n];
}

void run_job(
    const Pass& pass, int64_t first_row, Range panels, const float* bias, const Tensor& y) {
  alignas(64) float sums[kJobRows * kPanel];
  const int64_t row_count = std::min(kJobRows, pass.rows - first_row), n_size = pass.w.rows();
  for (int64_t panel = panels.begin; panel < panels.end; ++panel) {
    std::fill_n(sums, row_count * kPanel, 0.0f);
    pass.multiply(first_row, row_count, panel, sums);
    const int64_t n = panel * kPanel;
    write_out(sums,
              row_count,
              bias != nullptr ? bias + n : nullptr,
              std::min(kPanel, n_size - n),
              y.data<float>() + first_row * y.stride(0) + n,
              y.stride(0));
  }
}

void PanelWeight::multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const {
  const MatmulTiles& tiles = tiles_for(ctx.isa);
  const DType kind = x_dtype(ctx.activation, ctx.isa);
  const bool is_dot =
      kind == DType::bf16 && data_.dtype() == DType::bf16 && tiles.bf16_dot != nullptr;
  const TileFamily& family = is_dot                         ? *tiles.bf16_dot
                             : data_.dtype() == DType::bf16 ? tiles.bf16
                             : data_.dtype() == DType::f16  ? tiles.f16
                                                            : tiles.f32;
  const int64_t count = x.dim(0), most = std::min(count, kPassRows),
                blocks = ceil_div(cols_, kBlock);
  const Tensor scratch = ctx.empty({blocks * most, is_dot ? kStrideBf16 : kStrideF32},
                                   is_dot ? DType::bf16 : DType::f32);
  if (ctx.device.is_meta()) return;
  Pass pass{*this, row_kernels(ctx.isa), family, tiles.rows, kind, is_dot, scratch.raw()};
  const int64_t panels = ceil_div(rows_, kPanel),
                panels_per_job = count > tiles.rows ? kJobPanels : 1;
  const int64_t groups = ceil_div(panels, panels_per_job);
  for (int64_t first = 0; first < count; first += kPassRows) {
    pass.rows = std::min(kPassRows, count - first);
    ctx.pool->parallel_for(pass.rows, 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t)
        pass.lay_out(x.data<float>() + (first + t) * x.stride(0), t);
    });
    const Tensor out = y.slice(0, first, first + pass.rows);
    ctx.pool->parallel_for(
        ceil_div(pass.rows, kJobRows) * groups, 1, [&](int64_t begin, int64_t end, int) {
          for (int64_t job = begin; job < end; ++job) {
            const int64_t group = job % groups;
            const Range range{group * panels_per_job,
                              std::min(panels, (group + 1) * panels_per_job)};
            run_job(pass, job / groups * kJobRows, range, bias.data<float>(), out);
          }
        });
  }
}

// The stacked parts as one list of rows.
class Rows {
 public:
  Rows(const std::vector<QuantMatrix>& parts, const RowKernels& convert, DType storage)
      : convert_(convert),
        storage_(storage),
        cols_(parts[0].cols()),
        parts_(parts.begin(), parts.end()) {}

  // Row n in the kind of the storage: where it lies, or decoded into `buffer` (cols + 1 floats).
  const std::byte* row(int64_t n, float* buffer) const {
    size_t part = 0;
    for (; n >= parts_[part].rows(); ++part) n -= parts_[part].rows();
    if (const std::byte* stored = parts_[part].stored_row(n, storage_)) return stored;
    parts_[part].decode(n, buffer);
    auto* narrow = reinterpret_cast<uint16_t*>(
        buffer);  // in place: each element is read before its half is written
    if (storage_ == DType::bf16) convert_.narrow_bf16(buffer, cols_, narrow);
    if (storage_ == DType::f16) convert_.narrow_f16(buffer, cols_, narrow);
    return reinterpret_cast<const std::byte*>(buffer);
  }

 private:
  const RowKernels& convert_;
  DType storage_;
  int64_t cols_;
  std::vector<RowDecoder> parts_;
};

uint16_t half_at(const void* row, int64_t k) {
  uint16_t value;
  std::memcpy(&value, static_cast<const std::byte*>(row) + 2 * k, 2);
  return value;
}

// 16-bit rows are turned as pairs. bf16 keeps the pairs; f16 takes them apart again, one line of 32
// per k.
void turn_f16(
    const MatmulTiles& tiles, const void* const* rows, int count, int64_t cols, uint16_t* panel) {
  constexpr int64_t kChunk = 64;
  alignas(64) uint32_t pairs[kChunk * kPanel];
  const void* from[kPanel];
  for (int64_t pair = 0; pair < cols / 2; pair += kChunk) {
    const int64_t size = std::min(kChunk, cols / 2 - pair);
    for (int i = 0; i < count; ++i) from[i] = static_cast<const std::byte*>(rows[i]) + 4 * pair;
    tiles.turn(from, count, size, pairs);
    for (int64_t p = 0; p < size; ++p, panel += 2 * kPanel)
      for (int64_t i = 0; i < kPanel; ++i) {
        panel[i] = static_cast<uint16_t>(pairs[p * kPanel + i]);
        panel[kPanel + i] = static_cast<uint16_t>(pairs[p * kPanel + i] >> 16);
      }
  }
  if (cols % 2 != 0)
    for (int i = 0; i < kPanel; ++i) panel[i] = i < count ? half_at(rows[i], cols - 1) : 0;
}

void turn_bf16(
    const MatmulTiles& tiles, const void* const* rows, int count, int64_t cols, uint16_t* panel) {
  tiles.turn(rows, count, cols / 2, panel);
  if (cols % 2 == 0) return;
  uint16_t* last = panel + (cols - 1) * kPanel;
  for (int i = 0; i < kPanel; ++i) {
    last[2 * i] = i < count ? half_at(rows[i], cols - 1) : 0;
    last[2 * i + 1] = 0;
  }
}

void pack_panel(const Rows& rows, const MatmulTiles& tiles, const PanelWeight& w, int64_t panel) {
  const int64_t first = panel * kPanel, cols = w.cols();
  const auto count = static_cast<int>(std::min(kPanel, w.rows() - first));
  const auto width = static_cast<size_t>(cols + 1);
  std::vector<float> buffer(kPanel * width);
  const void* from[kPanel];
  for (int i = 0; i < count; ++i)
    from[i] = rows.row(first + i, buffer.data() + static_cast<size_t>(i) * width);
  const Tensor out = w.data().select(0, panel);
  if (out.dtype() == DType::f32) return tiles.turn(from, count, cols, out.raw());
  (out.dtype() == DType::bf16 ? turn_bf16 : turn_f16)(
      tiles, from, count, cols, out.data<uint16_t>());
}

}  // namespace

std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx,
                                          const std::vector<QuantMatrix>& parts,
                                          DType storage) {
  auto w = std::make_unique<PanelWeight>(ctx, parts, storage);
  if (device_for(ctx, parts).is_meta()) return w;
  const Rows rows(parts, row_kernels(ctx.isa), storage);
  ctx.pool->parallel_for(w->data().dim(0), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel)
      pack_panel(rows, tiles_for(ctx.isa), *w, panel);
  });
  return w;
}

}  // namespace quern::ops::cpu
