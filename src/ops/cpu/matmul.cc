// SPDX-License-Identifier: Apache-2.0
// Drives the tiles over panels and rows. Rows of x are rounded and laid out in blocks once; then
// every (row block, panel group) is one job. A job walks the k blocks outside, so that a block of
// weights serves all its rows from the near cache; with few rows it simply streams its panel from
// memory.
#include "ops/cpu/matmul.h"

#include <xmmintrin.h>

#include <algorithm>
#include <cstring>

#include "ops/cpu/job_panels.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/tile_unit.h"
#include "ops/pack.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

constexpr int64_t kPassRows = 1024;  // rows laid out at one time: bounds the scratch
constexpr int64_t kJobRows = 288;    // a multiple of every tile height
constexpr int64_t kManyRows = 64;    // from here on a job takes several panels
constexpr int64_t kJobPanels = 8;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

bool has_tile_unit(Isa isa) {
  return isa >= Isa::amx;
}

const MatmulTiles& tiles_for(Isa isa) {
  if (isa >= Isa::avx512_bf16) return kTilesAvx512Bf16;
  return isa == Isa::avx512 ? kTilesAvx512 : kTilesAvx2;
}

// The packed form of W; see tiles.h. Rows beyond N are zero, and for bf16 columns beyond K: up to
// whole pairs, or tiles.
class PanelWeight final : public PackedWeight {
 public:
  PanelWeight(const Ctx& ctx, const std::vector<QuantMatrix>& parts, DType storage)
      : PackedWeight(ctx.device),
        isa_(ctx.isa),
        rows_(stacked_rows(parts)),
        cols_(parts[0].cols()),
        padded_cols_(padded(cols_, storage, ctx.isa)),
        data_(Tensor::empty(
            {ceil_div(rows_, kPanel), padded_cols_, kPanel}, storage, device_for(ctx, parts))) {}

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return data_.bytes(); }
  std::string kernel() const override {
    const bool is_unit = has_tile_unit(isa_) && data_.dtype() == DType::bf16;
    return quern::format("{}.{}", is_unit ? "amx" : tiles_for(isa_).name, name_of(data_.dtype()));
  }
  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override {
    multiply_into(ctx, x, bias, y, false);
  }
  bool can_gate(int64_t count) const override {
    return count > kManyRows && rows_ % (2 * kPanel) == 0;
  }
  void multiply_gated(Ctx& ctx, const Tensor& x, const Tensor& y) const override {
    multiply_into(ctx, x, Tensor(), y, true);
  }
  void each_tensor(FunctionRef<void(Tensor&)> visit) override { visit(data_); }

  const Tensor& data() const { return data_; }
  int64_t padded_cols() const { return padded_cols_; }

 private:
  void multiply_into(
      Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y, bool is_gated) const;

  static int64_t padded(int64_t cols, DType storage, Isa isa) {
    const int64_t step = storage != DType::bf16 ? 1 : has_tile_unit(isa) ? kTileInputs : 2;
    return ceil_div(cols, step) * step;
  }

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
  bool is_unit;  // in tiles
  std::byte* blocks;
  int64_t rows = 0;

  int64_t stride_bytes() const {
    return is_unit ? kTiledRowBytes : is_dot ? kStrideBf16 * 2 : kStrideF32 * 4;
  }
  // Rows that so many take: the tile unit reads and writes its last tiles whole.
  int64_t room_for(int64_t count) const { return is_unit ? whole_tiles(count) : count; }
  std::byte* block_row(int64_t block, int64_t row) const {
    return blocks + (block * room_for(rows) + row) * stride_bytes();
  }

  void lay_out(const float* x, int64_t row) const;
  void lay_out_tiles(const uint16_t* x, int64_t count, int64_t block, int64_t row) const;
  const std::byte* weights(int64_t panel, int64_t k) const;
  void multiply(int64_t first_row, int64_t row_count, const JobPanels& panels, float* sums) const;
  void multiply_block(int64_t first_row,
                      int64_t row_count,
                      const std::byte* weights,
                      Range inputs,
                      const std::byte* next,
                      float* sums) const;
};

// Rounds one row and cuts it into its blocks, zero where the weight has been padded.
void Pass::lay_out(const float* x, int64_t row) const {
  const int64_t cols = w.cols();
  uint16_t narrow[kBlock];
  for (int64_t k = 0; k < cols; k += kBlock) {
    const int64_t block = k / kBlock;
    const float* source = x + k;
    const int64_t n = std::min(kBlock, cols - k), padded = std::min(kBlock, w.padded_cols() - k);
    if (is_dot) {
      auto* out = is_unit ? narrow : reinterpret_cast<uint16_t*>(block_row(block, row));
      convert.narrow_bf16(source, n, out);
      std::fill(out + n, out + padded, uint16_t{0});
      if (is_unit) lay_out_tiles(narrow, padded, block, row);
      continue;
    }
    auto* wide = reinterpret_cast<float*>(block_row(block, row));
    if (x_kind == DType::bf16) {
      convert.narrow_bf16(source, n, narrow);
      convert.widen_bf16(narrow, n, wide);
    } else if (x_kind == DType::f16) {
      convert.narrow_f16(source, n, narrow);
      convert.widen_f16(narrow, n, wide);
    } else {
      std::copy_n(source, n, wide);
    }
    std::fill(wide + n, wide + padded, 0.0f);
  }
}

void Pass::lay_out_tiles(const uint16_t* x, int64_t count, int64_t block, int64_t row) const {
  std::byte* out = block_row(block, row / kTileRows * kTileRows) + row % kTileRows * 64;
  for (int64_t k = 0; k < count; k += kTileInputs, out += kTileBytes) std::memcpy(out, x + k, 64);
}

const std::byte* Pass::weights(int64_t panel, int64_t k) const {
  return w.data().raw() + (panel * w.padded_cols() + k) * kPanel * (bits_of(w.data().dtype()) / 8);
}

// sums [panels, row_count, kPanel] += x rows times some panels, over the k blocks in order: a block
// of x serves all panels while it is near.
void Pass::multiply(int64_t first_row,
                    int64_t row_count,
                    const JobPanels& panels,
                    float* sums) const {
  const int64_t cols = w.padded_cols(), size = room_for(row_count) * kPanel;
  for (int64_t k = 0; k < cols; k += kBlock)
    for (int64_t i = 0; i < panels.count(); ++i)
      multiply_block(first_row,
                     row_count,
                     weights(panels.at(i), k),
                     {k, std::min(k + kBlock, cols)},
                     weights(panels.next(i), panels.is_last(i) ? k + kBlock : k),
                     sums + i * size);
}

void Pass::multiply_block(int64_t first_row,
                          int64_t row_count,
                          const std::byte* weights,
                          Range inputs,
                          const std::byte* next,
                          float* sums) const {
  const std::byte* x = block_row(inputs.begin / kBlock, first_row);
  if (is_unit) return kBf16TileUnit(x, row_count, weights, inputs.size() / kTileInputs, next, sums);
  const int64_t steps = inputs.size() / (w.data().dtype() == DType::bf16 ? 2 : 1);
  for (int64_t row = 0; row < row_count; row += tile_rows) {
    const int64_t height = std::min<int64_t>(tile_rows, row_count - row);
    family.tile[height - 1](x + row * stride_bytes(), weights, steps, sums + row * kPanel);
  }
}

void run_job(const Pass& pass,
             int64_t first_row,
             const JobPanels& panels,
             const float* bias,
             const Tensor& y) {
  alignas(64) float sums[kJobPanels * kJobRows * kPanel];
  const int64_t row_count = std::min(kJobRows, pass.rows - first_row),
                size = pass.room_for(row_count) * kPanel;
  const bool is_far = y.bytes() >= kFarBytes;
  std::fill_n(sums, panels.count() * size, 0.0f);
  pass.multiply(first_row, row_count, panels, sums);
  for (int64_t i = 0; i < panels.count(); i += panels.each()) {
    const float* from = sums + i * size;
    const int64_t n = panels.at(i) * kPanel;
    float* to = y.data<float>() + first_row * y.stride(0) + n;
    for (int64_t row = 0; row < row_count; ++row, from += kPanel, to += y.stride(0))
      if (panels.half > 0)  // behind a panel of gates are the sums of its panel of ups
        pass.convert.silu_mul(from, from + size, kPanel, to);
      else
        pass.convert.put(from,
                         bias != nullptr ? bias + n : nullptr,
                         std::min(kPanel, pass.w.rows() - n),
                         to,
                         is_far);
  }
  if (is_far) _mm_sfence();
}

void PanelWeight::multiply_into(
    Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y, bool is_gated) const {
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
  Pass pass{*this,
            row_kernels(ctx.isa),
            family,
            tiles.rows,
            kind,
            is_dot,
            is_dot && has_tile_unit(ctx.isa),
            nullptr};
  const Tensor scratch = ctx.empty({blocks * pass.room_for(most), pass.stride_bytes()}, DType::u8);
  if (ctx.device.is_meta()) return;
  pass.blocks = scratch.raw();
  const int64_t each = is_gated ? 2 : 1, panels = ceil_div(rows_, kPanel) / each;
  const int64_t panels_per_job =
      count > kManyRows ? panels_of_a_job(panels, ctx.pool->size(), kJobPanels / each) : 1;
  const int64_t groups = ceil_div(panels, panels_per_job);
  for (int64_t first = 0; first < count; first += kPassRows) {
    pass.rows = std::min(kPassRows, count - first);
    ctx.pool->parallel_for(pass.rows, 8, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t)
        pass.lay_out(x.data<float>() + (first + t) * x.stride(0), t);
    });
    const Tensor out = y.slice(0, first, first + pass.rows);
    const int64_t chunks = ceil_div(pass.rows, kJobRows);
    ctx.pool->parallel_for(chunks * groups, 1, [&](int64_t begin, int64_t end, int) {
      TileUnit unit;
      for (int64_t job = begin; job < end; ++job) {
        // All rows of a panel after each other: it is then still near.
        const int64_t group = job / chunks, row = job % chunks * kJobRows;
        if (pass.is_unit) unit.set(std::min(kJobRows, pass.rows - row), kTileInputs / 2);
        const Range range{group * panels_per_job, std::min(panels, (group + 1) * panels_per_job)};
        run_job(pass, row, {range, is_gated ? panels : 0}, bias.data<float>(), out);
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
  auto* numbers = out.data<uint16_t>();
  (out.dtype() == DType::bf16 ? turn_bf16 : turn_f16)(tiles, from, count, cols, numbers);
  if (out.dtype() == DType::bf16)
    std::fill(
        numbers + (cols + 1) / 2 * 2 * kPanel, numbers + w.padded_cols() * kPanel, uint16_t{0});
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
