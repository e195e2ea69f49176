// SPDX-License-Identifier: Apache-2.0
// Drives the tiles of cpu/codes.h over panels and rows. Rows of x are rounded and laid out in
// blocks once; then every (rows, panel) is one job, which walks the blocks outside, so that a block
// of codes serves all its rows from the near cache. With few rows a job simply streams its panel
// from memory.
#include "ops/cpu/code_weight.h"

#include <xmmintrin.h>

#include <algorithm>
#include <numeric>

#include "base/half.h"
#include "ops/cpu/code_panels.h"
#include "ops/cpu/job_panels.h"
#include "ops/cpu/tile_unit.h"
#include "ops/pack.h"
#include "ops/row_kernels.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

constexpr int64_t kPassRows = 1024;   // rows laid out at one time: bounds the scratch
constexpr int64_t kJobRows = 96;      // a multiple of the highest tile
constexpr int64_t kFewRows = 4;       // laid out by the caller: cheaper than handing them over
constexpr int64_t kTileUnitRows = 8;  // from here on the tile unit is faster than VPDPBUSD

constexpr int64_t kChunkBytes = 1 << 18, kChunksPerThread = 6;
constexpr int64_t kJobPanels = 4;  // many rows

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Whether the tile unit takes the weight: groups whose inputs have their own scale, cut into tiles
// that are at least half full.
bool fits_tile_unit(const CodeSpec& spec, int64_t element) {
  const int64_t steps = spec.group / kCodeStep, tile = steps_in_tile(steps, element);
  const int64_t tiles = steps / tile;
  return spec.input_groups == 1 && tile * kCodeStep * element >= 32 && (tiles <= 2 || tiles == 4);
}

// How a product of so many rows is computed on a tier: whatever their number, a row has the same
// bits.
struct Plan {
  CodeMode mode;
  const CodeFamily* family;
  DType x;  // what inputs are rounded to where they stay floats

  Plan(const CodeSpec& spec, Activation activation, Isa isa, int64_t rows)
      : x(x_dtype(activation, isa)) {
    const bool has_tiles = isa >= Isa::amx;
    if (activation == Activation::int8 && spec.takes_int8()) {
      mode = CodeMode::int8;
      family = isa < Isa::avx512_vnni    ? &kCodesInt8Avx2
               : !has_tiles              ? &kCodesInt8Vnni
               : rows < kTileUnitRows    ? &kCodesInt8VnniAhead
               : fits_tile_unit(spec, 1) ? &kCodesInt8Amx
                                         : &kCodesInt8Vnni;
    } else if (x == DType::bf16 && isa >= Isa::avx512_bf16) {
      mode = CodeMode::bf16_dot;
      family = has_tiles && fits_tile_unit(spec, 2) ? &kCodesBf16Amx : &kCodesBf16;
    } else {
      mode = CodeMode::f32;
      family = isa >= Isa::avx512 ? &kCodesF32Avx512 : &kCodesF32Avx2;
    }
  }

  int64_t element() const {
    return mode == CodeMode::int8 ? 1 : mode == CodeMode::bf16_dot ? 2 : 4;
  }
  CodeTileUnit tile_unit(CodeKind kind) const {
    return family->tile_unit[static_cast<size_t>(kind)];
  }
  bool has_tile_unit() const { return family->tile_unit[0] != nullptr; }
  int64_t job_rows() const { return std::max<int64_t>(kJobRows, family->rows); }
};

const CodeRowKernels& row_kernels_for(Isa isa) {
  return isa >= Isa::avx512 ? kCodeRowsAvx512 : kCodeRowsAvx2;
}

struct Results;

class CodeWeight final : public PackedWeight {
 public:
  CodeWeight(const Ctx& ctx, const std::vector<QuantMatrix>& parts, const CodeSpec& spec)
      : PackedWeight(ctx.device),
        spec_(spec),
        rows_(stacked_rows(parts)),
        cols_(parts[0].cols()),
        panels_(spec, rows_, cols_, device_for(ctx, parts)),
        name_(name_for(ctx)) {
    for (size_t i = 0; i < 32 && !spec.values.empty();
         ++i)  // small whole numbers or rounded: exact in bf16
      bf16_values_[i] = float_to_bf16(spec.values[i % 16]);
  }

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return panels_.bytes(); }
  std::string kernel() const override { return name_; }
  void each_tensor(FunctionRef<void(Tensor&)> visit) override { panels_.each_tensor(visit); }
  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override {
    multiply_into(ctx, x, bias, y, false);
  }
  bool can_gate(int64_t count) const override {
    return count > kJobRows && rows_ % (2 * kCodePanel) == 0;
  }
  void multiply_gated(Ctx& ctx, const Tensor& x, const Tensor& y) const override {
    multiply_into(ctx, x, Tensor(), y, true);
  }
  void pack(const Ctx& ctx, const std::vector<QuantMatrix>& parts) {
    pack_panels(ctx, parts, spec_, panels_);
  }

 private:
  struct Pass;
  void multiply_into(
      Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y, bool is_gated) const;

  // Few rows: enough panels in a row that the stream from memory seldom starts anew, few enough to
  // share out evenly.
  int64_t jobs_at_a_time(const ThreadPool& pool, int64_t count) const {
    if (count > kJobRows) return 1;
    const int64_t wanted =
        ceil_div(kChunkBytes, std::max<int64_t>(1, panels_.bytes() / panels_.panels()));
    return std::clamp<int64_t>(panels_.panels() / (pool.size() * kChunksPerThread), 1, wanted);
  }

  std::string name_for(const Ctx& ctx) const {
    const Plan plan(spec_, ctx.activation, ctx.isa, kPassRows);
    const char* kind = spec_.kind == CodeKind::bits4   ? (spec_.is_table ? "table4" : "int4")
                       : spec_.kind == CodeKind::bits8 ? "int8"
                                                       : "e4m3";
    return quern::format("{}.{}_g{} x {}",
                         plan.family->name,
                         kind,
                         spec_.group,
                         plan.mode == CodeMode::int8 ? "int8" : name_of(plan.x));
  }

  CodeSpec spec_;
  int64_t rows_, cols_;
  CodePanels panels_;
  std::string name_;
  alignas(64) uint16_t bf16_values_[32] = {};
};

// One pass of a product: up to kPassRows rows of x in blocks, and how to multiply them.
struct CodeWeight::Pass {
  const CodeWeight& w;
  Plan plan;
  const RowKernels& convert;
  const CodeRowKernels& kernels;
  int64_t rows = 0;
  Tensor data, groups;

  Pass(const CodeWeight& weight, const Ctx& ctx, int64_t count)
      : w(weight),
        plan(weight.spec_, ctx.activation, ctx.isa, count),
        convert(row_kernels(ctx.isa)),
        kernels(row_kernels_for(ctx.isa)) {
    const int64_t most = room_for(std::min(count, kPassRows));
    data = ctx.empty({w.panels_.blocks() * most, row_bytes()}, DType::u8);
    groups = ctx.empty({w.panels_.blocks() * most * w.panels_.block_groups(),
                        static_cast<int64_t>(sizeof(CodeGroup))},
                       DType::u8);
  }

  int64_t group() const { return w.spec_.group; }
  int64_t row_bytes() const {
    return plan.mode == CodeMode::int8       ? kRowBytes<int8_t>
           : plan.mode == CodeMode::bf16_dot ? kRowBytes<uint16_t>
                                             : kRowBytes<float>;
  }
  // Of a tile of inputs.
  int64_t lanes() const {
    return steps_in_tile(group() / kCodeStep, plan.element()) * kCodeStep * plan.element() / 4;
  }
  // Rows that so many take: the tile unit reads its last tiles whole.
  int64_t room_for(int64_t count) const {
    return plan.has_tile_unit() ? whole_tiles(count) : count;
  }
  std::byte* row_at(int64_t block, int64_t row) const {
    return data.raw() + (block * room_for(rows) + row) * row_bytes();
  }
  // Two floats for each row and group, s_x and sum_x, by group.
  float* scales_at(int64_t block, int64_t row) const {
    return reinterpret_cast<float*>(groups.raw()) +
           block * w.panels_.block_groups() * room_for(rows) + row;
  }
  float* sums_at(int64_t block, int64_t row) const {
    return scales_at(block, row) + w.panels_.blocks() * w.panels_.block_groups() * room_for(rows);
  }
  CodeGroup* groups_at(int64_t block, int64_t row) const {
    return reinterpret_cast<CodeGroup*>(groups.raw()) +
           (block * room_for(rows) + row) * w.panels_.block_groups();
  }

  void lay_out(const float* x, int64_t row) const;
  void lay_out_tiles(const std::byte* elements,
                     const CodeGroup& group,
                     int64_t block,
                     int64_t row,
                     int64_t g) const;
  float lay_out_floats(const float* x, int64_t count, std::byte* out) const;
  void lay_out_int8(const float* x, int64_t count, int8_t* out, CodeGroup* groups) const;
  void lay_out_bf16(const float* x, uint16_t* out) const;
  void decode_lines(int64_t panel, int64_t block, float* scales, float* offsets) const;
  bool has_offsets() const { return w.panels_.has_zeros() || w.spec_.offset == Offset::minimum; }
  void multiply_block(
      int64_t first_row, int64_t count, int64_t block, const CodePanel& part, float* sums) const;
  template <typename At>
  void put(const float* sums,
           Range rows,
           Range columns,
           int64_t line,
           const Results& out,
           const At& at) const;
  void run_job(int64_t first_row, const JobPanels& panels, const Results& out, float* sums) const;
  void put_panel(const float* sums, Range row_range, int64_t panel, const Results& out) const;
  void put_gated(const float* sums, Range row_range, int64_t panel, const Results& out) const;
};

// The groups under one scale of x, `count` inputs in all; what is missing of the last group is 0.
void CodeWeight::Pass::lay_out_int8(const float* x,
                                    int64_t count,
                                    int8_t* out,
                                    CodeGroup* groups) const {
  const float scale = kernels.quantize(x, count, out);
  const int32_t zero = w.spec_.kind == CodeKind::bits8 ? plan.family->zero8 : 0;
  for (int64_t k = 0; k < count; k += group(), ++groups) {
    if (count - k < group()) std::fill(out + count, out + k + group(), int8_t{0});
    const int32_t sum = std::accumulate(out + k, out + k + group(), int32_t{0});
    *groups = {.scale = scale,
               .sum = static_cast<float>(sum),
               .start = (zero - w.spec_.centre) * sum,
               .is_last = k + group() >= count};
  }
}

// The middle two of each four are exchanged.
void CodeWeight::Pass::lay_out_bf16(const float* x, uint16_t* out) const {
  convert.narrow_bf16(x, group(), out);
  for (int64_t k = 0; k < group(); k += 4) std::swap(out[k + 1], out[k + 2]);
}

// Up to one group of inputs; what is missing of it is 0. Returns the sum of what was laid out.
float CodeWeight::Pass::lay_out_floats(const float* x, int64_t count, std::byte* out) const {
  float values[kCodeBlock] = {};
  uint16_t narrow[kCodeBlock];
  std::copy_n(x, count, values);
  if (plan.x == DType::bf16) {
    convert.narrow_bf16(values, group(), narrow);
    convert.widen_bf16(narrow, group(), values);
  } else if (plan.x == DType::f16) {
    convert.narrow_f16(values, group(), narrow);
    convert.widen_f16(narrow, group(), values);
  }
  if (plan.mode == CodeMode::bf16_dot)
    lay_out_bf16(values, reinterpret_cast<uint16_t*>(out));
  else
    std::copy_n(values, group(), reinterpret_cast<float*>(out));
  return kernels.sum(values, group());
}

// Group g of the block, its elements as rows of tiles.
void CodeWeight::Pass::lay_out_tiles(
    const std::byte* elements, const CodeGroup& own, int64_t block, int64_t row, int64_t g) const {
  scales_at(block, row)[g * room_for(rows)] = own.scale;
  sums_at(block, row)[g * room_for(rows)] = own.sum;
  const int64_t bytes = 4 * lanes(), tiles = group() * plan.element() / bytes;
  std::byte* out = row_at(block, row / kTileRows * kTileRows) + g * tiles * kTileRows * bytes +
                   row % kTileRows * bytes;
  for (int64_t t = 0; t < tiles; ++t, elements += bytes, out += kTileRows * bytes)
    std::copy_n(elements, bytes, out);
}

void CodeWeight::Pass::lay_out(const float* x, int64_t row) const {
  std::vector<float> ordered;
  if (!w.spec_.column_order.empty()) {
    ordered.reserve(w.spec_.column_order.size());
    for (const int32_t k : w.spec_.column_order) ordered.push_back(x[k]);
    x = ordered.data();
  }
  alignas(64) std::byte elements[kMostGroupInputs * 2];
  CodeGroup own;
  const int64_t step = w.spec_.input_groups;
  for (int64_t g = 0; g < w.panels_.groups(); g += step) {
    const int64_t block = g / w.panels_.block_groups(), at = g % w.panels_.block_groups();
    std::byte* out =
        plan.has_tile_unit() ? elements : row_at(block, row) + at * group() * plan.element();
    CodeGroup* groups = plan.has_tile_unit() ? &own : groups_at(block, row) + at;
    const int64_t count = std::min(step * group(), w.cols_ - g * group());
    if (plan.mode == CodeMode::int8) {
      lay_out_int8(x + g * group(), count, reinterpret_cast<int8_t*>(out), groups);
    } else {
      for (int64_t k = 0; k < count; k += group(), ++groups) {
        const float sum = lay_out_floats(
            x + g * group() + k, std::min(group(), count - k), out + k * plan.element());
        *groups = {.scale = 1, .sum = sum, .start = 0, .is_last = k + group() >= count};
      }
    }
    if (plan.has_tile_unit()) lay_out_tiles(elements, own, block, row, at);
  }
}

// Scales and offsets of a block's groups as float32 lines.
void CodeWeight::Pass::decode_lines(int64_t panel,
                                    int64_t block,
                                    float* scales,
                                    float* offsets) const {
  const CodePanels& p = w.panels_;
  widen_block(kernels, p, p.scales, p.super_scales, panel, block, scales);
  if (p.minimums.is_present())
    widen_block(kernels, p, p.minimums, p.super_minimums, panel, block, offsets);
  if (!p.has_zeros()) return;
  widen_block(kernels, p, p.zeros, {}, panel, block, offsets);
  kernels.multiply(offsets, scales, p.range(block).size() * kCodePanel);
}

// Where a pass leaves its results: [rows, N], with the bias of each column.
struct Results {
  float* y;
  int64_t stride;
  const float* bias;  // null: none
  bool is_far;        // see row_kernels.h
};

// Puts a panel's sums, with the bias, to their columns of y; those of row r from column n on lie
// at(r, n), up to `line` of them.
template <typename At>
void CodeWeight::Pass::put(const float* sums,
                           Range rows,
                           Range columns,
                           int64_t line,
                           const Results& out,
                           const At& at) const {
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t n = columns.begin; n < columns.end; n += line)
      convert.put(sums + at(row - rows.begin, n - columns.begin),
                  out.bias != nullptr ? out.bias + n : nullptr,
                  std::min(line, columns.end - n),
                  out.y + row * out.stride + n,
                  out.is_far);
  if (out.is_far) _mm_sfence();
}

// Rows [first_row, first_row + job_rows()) times some panels; `sums` has kTileUnitJob x kCodePanel
// floats for each.
void CodeWeight::Pass::run_job(int64_t first_row,
                               const JobPanels& panels,
                               const Results& out,
                               float* sums) const {
  alignas(64) float scales[kMostGroups * kCodePanel], offsets[kMostGroups * kCodePanel];
  const int64_t count = std::min(plan.job_rows(), rows - first_row),
                size = room_for(count) * kCodePanel;
  std::fill_n(sums, panels.count() * size, 0.0f);
  CodePanel part{.codes = nullptr,
                 .scales = scales,
                 .offsets = has_offsets() ? offsets : nullptr,
                 .groups = 0,
                 .steps = group() / kCodeStep,
                 .values = w.spec_.values.empty() ? nullptr : w.spec_.values.data(),
                 .bf16_values = w.bf16_values_,
                 .centre = static_cast<float>(w.spec_.centre)};
  for (int64_t block = 0; block < w.panels_.blocks(); ++block)
    for (int64_t i = 0; i < panels.count(); ++i) {
      const int64_t panel = panels.at(i);
      decode_lines(panel, block, scales, offsets);
      part.codes = w.panels_.codes(panel, block);
      part.next = w.panels_.block(panels.next(i), panels.is_last(i) ? block + 1 : block);
      part.groups = w.panels_.range(block).size();
      multiply_block(first_row, count, block, part, sums + i * size);
    }
  const Range row_range{first_row, first_row + count};
  for (int64_t i = 0; i < panels.count(); i += panels.each(), sums += panels.each() * size)
    panels.half > 0 ? put_gated(sums, row_range, panels.at(i), out)
                    : put_panel(sums, row_range, panels.at(i), out);
}

void CodeWeight::Pass::put_panel(const float* sums,
                                 Range row_range,
                                 int64_t panel,
                                 const Results& out) const {
  const Range columns{panel * kCodePanel, std::min((panel + 1) * kCodePanel, w.rows_)};
  if (plan.has_tile_unit())
    put(sums, row_range, columns, kTiledLine, out, [&](int64_t row, int64_t n) {
      return tiled_sum(row_range.size(), row, n);
    });
  else
    put(sums, row_range, columns, kCodePanel, out, [](int64_t row, int64_t) {
      return row * kCodePanel;
    });
}

// Sums of a panel of gates, and behind them those of its panel of ups.
void CodeWeight::Pass::put_gated(const float* sums,
                                 Range row_range,
                                 int64_t panel,
                                 const Results& out) const {
  const int64_t count = row_range.size(), line = plan.has_tile_unit() ? kTiledLine : kCodePanel;
  const float* ups = sums + room_for(count) * kCodePanel;
  for (int64_t row = 0; row < count; ++row)
    for (int64_t n = 0; n < kCodePanel; n += line) {
      const int64_t at = plan.has_tile_unit() ? tiled_sum(count, row, n) : row * kCodePanel;
      convert.silu_mul(sums + at,
                       ups + at,
                       line,
                       out.y + (row_range.begin + row) * out.stride + panel * kCodePanel + n);
    }
}

// Rows [first_row, first_row + count) of x times one block of a panel.
void CodeWeight::Pass::multiply_block(
    int64_t first_row, int64_t count, int64_t block, const CodePanel& part, float* sums) const {
  const std::byte* x = row_at(block, first_row);
  if (plan.has_tile_unit())
    return plan.tile_unit(w.spec_.kind)(
        {x, scales_at(block, first_row), sums_at(block, first_row), room_for(rows)},
        count,
        part,
        sums);
  const CodeGroup* groups = groups_at(block, first_row);
  const int64_t stride = w.panels_.block_groups();
  const int64_t tiles = ceil_div(count, plan.family->rows), height = ceil_div(count, tiles);
  const CodeTile* tile = plan.family->tiles(w.spec_.kind);
  for (int64_t row = 0; row < count; row += height)
    tile[std::min(height, count - row) - 1](
        {x + row * row_bytes(), groups + row * stride, stride}, part, sums + row * kCodePanel);
}

void CodeWeight::multiply_into(
    Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y, bool is_gated) const {
  const int64_t count = x.dim(0);
  Pass pass(*this, ctx, count);
  if (ctx.device.is_meta()) return;
  const int64_t job_rows = pass.plan.job_rows(), each = is_gated ? 2 : 1,
                panels = panels_.panels() / each,
                job_panels = count > kJobRows
                                 ? panels_of_a_job(panels, ctx.pool->size(), kJobPanels / each)
                                 : 1;
  for (int64_t first = 0; first < count; first += kPassRows) {
    pass.rows = std::min(kPassRows, count - first);
    ctx.pool->parallel_for(pass.rows, kFewRows, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = begin; t < end; ++t)
        pass.lay_out(x.data<float>() + (first + t) * x.stride(0), t);
    });
    const Results out{y.data<float>() + first * y.stride(0),
                      y.stride(0),
                      bias.data<float>(),
                      y.bytes() >= kFarBytes};
    const int64_t chunks = ceil_div(pass.rows, job_rows),
                  jobs = chunks * ceil_div(panels, job_panels);
    ctx.pool->parallel_for(
        jobs, jobs_at_a_time(*ctx.pool, pass.rows), [&](int64_t begin, int64_t end, int) {
          TileUnit unit;
          alignas(64) float sums[kJobPanels * kTileUnitJob * kCodePanel];
          for (int64_t job = begin; job < end; ++job) {
            // All rows of a panel after each other: it is then still near.
            const int64_t panel = job / chunks * job_panels, row = job % chunks * job_rows;
            if (pass.plan.has_tile_unit())
              unit.set(std::min(job_rows, pass.rows - row), pass.lanes());
            pass.run_job(row,
                         {{panel, std::min(panels, panel + job_panels)}, is_gated ? panels : 0},
                         out,
                         sums);
          }
        });
  }
}

}  // namespace

std::unique_ptr<PackedWeight> pack_codes(const Ctx& ctx,
                                         const std::vector<QuantMatrix>& parts,
                                         const CodeSpec& spec) {
  auto w = std::make_unique<CodeWeight>(ctx, parts, spec);
  if (!device_for(ctx, parts).is_meta()) w->pack(ctx, parts);
  return w;
}

}  // namespace quern::ops::cpu
