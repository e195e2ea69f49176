// SPDX-License-Identifier: Apache-2.0
// Drives the kernels of table_codes.h over panels and rows. Rows of x are rounded and turned in
// blocks once; then every (rows, panels) is one job, which walks the blocks outside, so that a
// block of x serves all its panels from the near cache. With few rows a job streams its panels from
// memory.
#include "ops/cpu/table_weight.h"

#include <xmmintrin.h>

#include <algorithm>
#include <cstring>

#include "ops/cpu/code_panels.h"
#include "ops/cpu/job_panels.h"
#include "ops/cpu/table_codes.h"
#include "ops/cpu/tile_unit.h"
#include "ops/pack.h"
#include "ops/row_kernels.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

constexpr int64_t kPassRows = 1024;  // rows turned at one time: bounds the scratch
constexpr int64_t kJobRows = 256;
constexpr int64_t kJobSums = int64_t{1} << 17;  // of all panels of a job: within the second cache
constexpr int64_t kStreamBytes = int64_t{1} << 18;  // few rows: of panels in a row
constexpr int64_t kStreamsPerThread = 6;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

class TableWeight final : public PackedWeight {
 public:
  TableWeight(const Ctx& ctx, const std::vector<QuantMatrix>& parts, const CodeSpec& spec)
      : PackedWeight(ctx.device),
        spec_(spec),
        rows_(stacked_rows(parts)),
        cols_(parts[0].cols()),
        panels_(spec, rows_, cols_, device_for(ctx, parts), CodeOrder::tiles) {}

  int64_t rows() const override { return rows_; }
  int64_t cols() const override { return cols_; }
  int64_t bytes() const override { return panels_.bytes(); }
  std::string kernel() const override {
    return quern::format("amx.{}_g{} x bf16", spec_.is_table ? "table4" : "int4", spec_.group);
  }
  void each_tensor(FunctionRef<void(Tensor&)> visit) override { panels_.each_tensor(visit); }
  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override {
    multiply_into(ctx, x, {y, bias, false});
  }
  bool can_gate(int64_t count) const override {
    return count > kTileRows && rows_ % (2 * kCodePanel) == 0;
  }
  void multiply_gated(Ctx& ctx, const Tensor& x, const Tensor& y) const override {
    multiply_into(ctx, x, {y, Tensor(), true});
  }

  void pack(const Ctx& ctx, const std::vector<QuantMatrix>& parts) {
    pack_panels(ctx, parts, spec_, panels_);
  }

 private:
  struct Pass;
  // What becomes of a product: with its bias [T, N], or gated [T, N / 2].
  struct Results {
    Tensor y, bias;
    bool is_gated;
  };
  void multiply_into(Ctx& ctx, const Tensor& x, const Results& out) const;

  CodeSpec spec_;
  int64_t rows_, cols_;
  CodePanels panels_;
};

// One pass of a product: up to kPassRows rows of x, turned, and where its results go.
struct TableWeight::Pass {
  const TableWeight& w;
  const RowKernels& convert;
  const CodeRowKernels& kernels;
  int64_t rows;
  Tensor data;

  // Has room for as many rows as a pass of `count` has at most.
  Pass(const TableWeight& weight, Ctx& ctx, int64_t count)
      : w(weight),
        convert(row_kernels(ctx.isa)),
        kernels(kCodeRowsAvx512),
        rows(std::min(count, kPassRows)) {
    data = ctx.empty({w.panels_.blocks() * room() / kTileRows, row_bytes()}, DType::u8);
  }

  bool is_few() const { return rows <= kTileRows; }
  // Rows of a job that the kernels are given.
  int64_t taken(Range job_rows) const {
    return is_few() ? job_rows.size() : whole_tiles(job_rows.size());
  }
  int64_t sums_size(Range job_rows) const {  // of a panel
    return std::max(taken(job_rows), kTileRows) * kCodePanel;
  }
  int64_t room() const { return is_few() ? kTileRows : whole_tiles(rows); }
  // Of 16 rows of one block; few rows lie closer.
  int64_t row_bytes() const { return is_few() ? kTurnedRows / kTileRows * rows : kTurnedRows; }
  std::byte* rows_at(int64_t block, int64_t row) const {
    return data.raw() + (block * room() + row) / kTileRows * row_bytes();
  }

  void turn(const Tensor& x, int64_t first) const;
  void turn_block(const uint16_t* narrow, int64_t inputs, int64_t block, int64_t first) const;
  TablePanel read_block(int64_t panel, int64_t block, float* scales, float* shifts) const;
  void put(const float* sums, int64_t panel, Range job_rows, const Results& out) const;
  void put_gated(const float* sums, int64_t panel, Range job_rows, const Results& out) const;
  void run_job(Range job_rows, const JobPanels& panels, const Results& out, float* sums) const;
};

// Rows [first, first + 16) of x, those that there are.
void TableWeight::Pass::turn(const Tensor& x, int64_t first) const {
  const int64_t count = std::min(kTileRows, rows - first), cols = w.cols_;
  const auto& order = w.spec_.column_order;
  std::vector<float> ordered(order.size());
  alignas(64) uint16_t narrow[kTileRows * kCodeBlock] = {};
  for (int64_t k = 0; k < cols; k += kCodeBlock) {
    const int64_t inputs = std::min(kCodeBlock, cols - k);
    for (int64_t r = 0; r < count; ++r) {
      const float* from = x.data<float>() + (first + r) * x.stride(0);
      uint16_t* to = narrow + r * kCodeBlock;
      if (!order.empty()) {
        for (int64_t i = 0; i < inputs; ++i)
          ordered[static_cast<size_t>(i)] = from[order[static_cast<size_t>(k + i)]];
        from = ordered.data() - k;
      }
      convert.narrow_bf16(from + k, inputs, to);
      std::fill(to + inputs, to + kCodeBlock, uint16_t{0});
    }
    turn_block(narrow, inputs, k / kCodeBlock, first);
  }
}

void TableWeight::Pass::turn_block(const uint16_t* narrow,
                                   int64_t inputs,
                                   int64_t block,
                                   int64_t first) const {
  const int64_t whole = ceil_div(inputs, kTableChunk) * kTableChunk;
  std::byte* out = rows_at(block, first);
  if (!is_few()) return turn_rows(narrow, kCodeBlock, whole, out);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < whole; k += 2)
      std::memcpy(out + (k / 2 * rows + r) * 4, narrow + r * kCodeBlock + k, 4);
}

// The block with its scales, widened.
TablePanel TableWeight::Pass::read_block(int64_t panel,
                                         int64_t block,
                                         float* scales,
                                         float* shifts) const {
  const CodePanels& p = w.panels_;
  const int64_t groups = p.range(block).size(), chunk_groups = kTableChunk / w.spec_.group;
  TablePanel out{.codes = p.codes(panel, block),
                 .next = nullptr,
                 .scales = scales,
                 .shifts = shifts,
                 .values = w.spec_.values.data(),
                 .chunks = ceil_div(groups, chunk_groups),
                 .chunk_groups = chunk_groups,
                 .shift = TableShift::none,
                 .begins = false};
  // Groups that fill the last chunk meet inputs that are 0: they must be numbers.
  const int64_t begin = groups * kCodePanel, end = out.chunks * chunk_groups * kCodePanel;
  std::fill(scales + begin, scales + end, 0.0f);
  std::fill(shifts + begin, shifts + end, 0.0f);
  widen_block(kernels, p, p.scales, p.super_scales, panel, block, scales);
  if (p.minimums.is_present()) {
    out.shift = TableShift::after;
    widen_block(kernels, p, p.minimums, p.super_minimums, panel, block, shifts);
  } else if (p.has_zeros()) {
    out.shift = TableShift::before;
    widen_block(kernels, p, p.zeros, {}, panel, block, shifts);
  }
  return out;
}

void TableWeight::Pass::put(const float* sums,
                            int64_t panel,
                            Range job_rows,
                            const Results& out) const {
  const int64_t n = panel * kCodePanel;
  put_sums(sums,
           taken(job_rows),
           {0, job_rows.size()},
           std::min(kCodePanel, w.rows_ - n),
           {out.y.data<float>() + job_rows.begin * out.y.stride(0) + n,
            out.y.stride(0),
            out.bias.defined() ? out.bias.data<float>() + n : nullptr,
            out.y.bytes() >= kFarBytes});
}

// Sums of a panel of gates, and behind them those of its panel of ups.
void TableWeight::Pass::put_gated(const float* sums,
                                  int64_t panel,
                                  Range job_rows,
                                  const Results& out) const {
  alignas(64) float gate[kTileRows * kCodePanel], up[kTileRows * kCodePanel];
  const int64_t rows = taken(job_rows);
  for (int64_t row = 0; row < job_rows.size(); row += kTileRows) {
    const Range lines{row, std::min(row + kTileRows, job_rows.size())};
    put_sums(sums, rows, lines, kCodePanel, {gate, kCodePanel, nullptr, false});
    put_sums(sums + sums_size(job_rows), rows, lines, kCodePanel, {up, kCodePanel, nullptr, false});
    float* y = out.y.data<float>() + (job_rows.begin + row) * out.y.stride(0) + panel * kCodePanel;
    for (int64_t r = 0; r < lines.size(); ++r, y += out.y.stride(0))
      convert.silu_mul(gate + r * kCodePanel, up + r * kCodePanel, kCodePanel, y);
  }
}

void TableWeight::Pass::run_job(Range job_rows,
                                const JobPanels& panels,
                                const Results& out,
                                float* sums) const {
  alignas(64) float scales[kMostGroups * kCodePanel], shifts[kMostGroups * kCodePanel];
  const int64_t size = sums_size(job_rows), count = panels.count();
  if (is_few())
    for (int64_t i = 0; i < count; ++i) {
      const auto read = [&](int64_t block) {
        return read_block(panels.at(i), block, scales, shifts);
      };
      multiply_table({rows_at(0, 0),
                      rows_at(1, 0) - rows_at(0, 0),
                      rows,
                      w.panels_.blocks(),
                      ceil_div(w.cols_, kTableChunk),
                      read},
                     sums + i * size);
    }
  else
    for (int64_t block = 0; block < w.panels_.blocks(); ++block)
      for (int64_t i = 0; i < count; ++i) {
        TablePanel part = read_block(panels.at(i), block, scales, shifts);
        part.begins = block == 0;
        part.next = w.panels_.block(panels.next(i), panels.is_last(i) ? block + 1 : block);
        multiply_table(rows_at(block, job_rows.begin), taken(job_rows), part, sums + i * size);
      }
  for (int64_t i = 0; i < count; i += panels.each(), sums += panels.each() * size)
    out.is_gated ? put_gated(sums, panels.at(i), job_rows, out)
                 : put(sums, panels.at(i), job_rows, out);
  _mm_sfence();  // of results put past the caches
}

void TableWeight::multiply_into(Ctx& ctx, const Tensor& x, const Results& out) const {
  Pass pass(*this, ctx, x.dim(0));
  if (ctx.device.is_meta()) return;
  for (int64_t first = 0; first < x.dim(0); first += kPassRows) {
    const int64_t count = pass.rows = std::min(kPassRows, x.dim(0) - first);
    const Tensor in = x.slice(0, first, first + count);
    const Results part{out.y.slice(0, first, first + count), out.bias, out.is_gated};
    ctx.pool->parallel_for(ceil_div(count, kTileRows), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) pass.turn(in, i * kTileRows);
    });
    const int64_t each = out.is_gated ? 2 : 1, panels = panels_.panels() / each,
                  threads = ctx.pool->size(),
                  job_rows = pass.is_few() ? kTileRows : std::min(kJobRows, pass.room()),
                  chunks = ceil_div(count, job_rows);
    const int64_t job_panels =
        pass.is_few() ? 1
                      : panels_of_a_job(panels, threads, kJobSums / (each * job_rows * kCodePanel));
    const int64_t at_a_time = pass.is_few()
                                  ? std::clamp<int64_t>(panels / (threads * kStreamsPerThread),
                                                        1,
                                                        ceil_div(kStreamBytes, bytes() / panels))
                                  : 1;
    ctx.pool->parallel_for(
        chunks * ceil_div(panels, job_panels), at_a_time, [&](int64_t begin, int64_t end, int) {
          TileUnit unit;
          alignas(64) float sums[kJobSums];
          for (int64_t job = begin; job < end; ++job) {
            // All rows of some panels after each other: they are then still near.
            const int64_t panel = job / chunks * job_panels, row = job % chunks * job_rows;
            unit.set_turned(count);
            pass.run_job({row, std::min(count, row + job_rows)},
                         {{panel, std::min(panels, panel + job_panels)}, out.is_gated ? panels : 0},
                         part,
                         sums);
          }
        });
  }
}

}  // namespace

std::unique_ptr<PackedWeight> pack_table(const Ctx& ctx,
                                         const std::vector<QuantMatrix>& parts,
                                         const CodeSpec& spec) {
  auto w = std::make_unique<TableWeight>(ctx, parts, spec);
  if (!device_for(ctx, parts).is_meta()) w->pack(ctx, parts);
  return w;
}

}  // namespace quern::ops::cpu
