// SPDX-License-Identifier: Apache-2.0
#include "tensor/quant_slice.h"

#include <cstring>
#include <numeric>

#include "base/error.h"

namespace quern {
namespace {

// How one axis of a grid of blocks is cut: cell i of the part is cell source(i) of the whole.
struct AxisCut {
  Range part;
  int64_t block = 0;  // of the whole; 0: one block over all
  int64_t finer = 0;  // of the part

  AxisCut(Range range, int64_t whole_block)
      : part(range),
        block(whole_block <= 0 ? 0 : whole_block),
        finer(block == 0 ? 0 : std::gcd(block, range.begin)) {}

  int64_t cells() const { return block == 0 ? 1 : (part.size() + finer - 1) / finer; }
  int64_t source(int64_t i) const { return block == 0 ? 0 : (part.begin + i * finer) / block; }
};

// Cells [rows.cells(), cols.cells()) of a grid.
template <typename RowOf, typename ColOf>
Tensor pick_cells(const Tensor& grid, const Shape& shape, RowOf row_of, ColOf col_of) {
  if (!grid.defined()) return {};
  const Tensor from = grid.contiguous();
  Tensor out = Tensor::empty(shape, grid.dtype(), grid.device());
  if (out.raw() == nullptr) return out;
  const auto size = static_cast<size_t>(bits_of(grid.dtype()) / 8);
  std::byte* to = out.raw();
  for (int64_t r = 0; r < shape[0]; ++r)
    for (int64_t c = 0; c < shape[1]; ++c, to += size)
      std::memcpy(
          to, from.raw() + static_cast<size_t>(row_of(r) * from.dim(1) + col_of(c)) * size, size);
  return out;
}

Tensor cut_grid(const Tensor& grid, const AxisCut& rows, const AxisCut& cols) {
  return pick_cells(
      grid,
      {rows.cells(), cols.cells()},
      [&](int64_t i) { return rows.source(i); },
      [&](int64_t i) { return cols.source(i); });
}

// Every grid of w through `change`, which is given the grid and its block along K.
template <typename Change>
void change_grids(QuantMatrix& w, Change change) {
  for (Tensor* grid : {&w.scales, &w.zeros, &w.minimums}) *grid = change(*grid, w.block_cols);
  for (Tensor* grid : {&w.super_scales, &w.super_minimums}) *grid = change(*grid, w.super_cols);
}

std::vector<int32_t> numbers_of(std::span<const Range> ranges) {
  std::vector<int32_t> out;
  out.reserve(static_cast<size_t>(total_size(ranges)));
  for (const Range r : ranges)
    for (int64_t i = r.begin; i < r.end; ++i) out.push_back(static_cast<int32_t>(i));
  return out;
}

// Which stored columns are taken (-1: a column of padding), block by block.
struct Columns {
  std::vector<int32_t> stored;
  std::vector<int32_t> inputs;  // of each: its number among the taken inputs; -1: padding
  std::vector<int64_t> blocks;  // of the whole, for each block of the part
  int64_t block = 0;            // columns of a block of the part; 0: one over all
  bool is_padded = false;
};

// The stored columns of each block that hold a wanted input.
std::vector<std::vector<int32_t>> wanted_by_block(const QuantMatrix& w,
                                                  const std::vector<int32_t>& local,
                                                  int64_t block) {
  std::vector<std::vector<int32_t>> out(static_cast<size_t>((w.cols() + block - 1) / block));
  for (int64_t c = 0; c < w.cols(); ++c) {
    const int64_t k = w.column_order.empty() ? c : w.column_order[static_cast<size_t>(c)];
    if (local[static_cast<size_t>(k)] >= 0)
      out[static_cast<size_t>(c / block)].push_back(static_cast<int32_t>(c));
  }
  return out;
}

// Whole blocks stay blocks, if a shorter one is the last.
bool are_whole(const std::vector<std::vector<int32_t>>& wanted, int64_t block, int64_t cols) {
  for (size_t b = 0; b < wanted.size(); ++b) {
    const int64_t due = std::min(block, cols - static_cast<int64_t>(b) * block);
    if (!wanted[b].empty() && static_cast<int64_t>(wanted[b].size()) != due) return false;
  }
  return true;
}

Columns choose_columns(const QuantMatrix& w, std::span<const Range> ranges) {
  std::vector<int32_t> local(static_cast<size_t>(w.cols()), -1);
  int32_t next = 0;
  for (const int32_t k : numbers_of(ranges)) local[static_cast<size_t>(k)] = next++;
  const int64_t block = w.block_cols <= 0 ? std::max<int64_t>(w.cols(), 1) : w.block_cols;
  const auto wanted = wanted_by_block(w, local, block);
  Columns out;
  out.is_padded = w.block_cols > 0 && !are_whole(wanted, block, w.cols());
  out.block = out.is_padded ? kGatherBlock : w.block_cols;
  for (size_t b = 0; b < wanted.size(); ++b) {
    for (const int32_t c : wanted[b]) {
      const int64_t k = w.column_order.empty() ? c : w.column_order[static_cast<size_t>(c)];
      out.stored.push_back(c);
      out.inputs.push_back(local[static_cast<size_t>(k)]);
    }
    while (out.is_padded && out.stored.size() % kGatherBlock != 0) {
      out.stored.push_back(-1);
      out.inputs.push_back(-1);
    }
    const int64_t held = out.block > 0 ? static_cast<int64_t>(out.stored.size()) : 0;
    while (static_cast<int64_t>(out.blocks.size()) * out.block < held)
      out.blocks.push_back(static_cast<int64_t>(b));
  }
  return out;
}

Tensor gather_codes(const Tensor& codes, const std::vector<int32_t>& columns) {
  const Shape shape{codes.dim(0), static_cast<int64_t>(columns.size())};
  const Tensor from = codes.contiguous();
  Tensor out = Tensor::empty(shape, codes.dtype(), codes.device());
  if (out.raw() == nullptr) return out;
  const auto size = static_cast<size_t>(bits_of(codes.dtype()) / 8);
  std::byte* to = out.raw();
  for (int64_t n = 0; n < shape[0]; ++n) {
    const std::byte* row = from.raw() + static_cast<size_t>(n * from.dim(1)) * size;
    for (const int32_t c : columns) {
      // A column of padding is multiplied with zero: any finite value will do.
      if (c < 0)
        std::memset(to, 0, size);
      else
        std::memcpy(to, row + static_cast<size_t>(c) * size, size);
      to += size;
    }
  }
  return out;
}

bool is_identity(const std::vector<int32_t>& order) {
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] != static_cast<int32_t>(i)) return false;
  return true;
}

}  // namespace

QuantMatrix slice(const QuantMatrix& w, Range rows, Range cols) {
  const bool is_all_cols = cols == Range{0, w.cols()};
  QUERN_CHECK(is_all_cols || w.column_order.empty(), "columns of an ordered matrix");
  QuantMatrix out = w;
  const AxisCut by_rows(rows, w.block_rows);
  change_grids(out, [&](const Tensor& grid, int64_t block_cols) {
    return cut_grid(grid, by_rows, AxisCut(cols, block_cols));
  });
  out.codes = w.codes.slice(0, rows.begin, rows.end).slice(1, cols.begin, cols.end).contiguous();
  out.block_rows = by_rows.finer;
  out.block_cols = AxisCut(cols, w.block_cols).finer;
  out.super_cols = AxisCut(cols, w.super_cols).finer;
  return out;
}

QuantMatrix take_rows(const QuantMatrix& w, std::span<const Range> ranges) {
  if (ranges.size() == 1) return slice(w, ranges[0], {0, w.cols()});
  const std::vector<int32_t> rows = numbers_of(ranges);
  const auto row_of = [&](int64_t i) { return rows[static_cast<size_t>(i)]; };
  const auto same = [](int64_t i) { return i; };
  const auto count = static_cast<int64_t>(rows.size());
  QuantMatrix out = w;
  change_grids(out, [&](const Tensor& grid, int64_t) {
    const auto block_of = [&](int64_t i) {
      return w.block_rows <= 0 ? int64_t{0} : row_of(i) / w.block_rows;
    };
    return pick_cells(grid, {count, grid.defined() ? grid.dim(1) : 0}, block_of, same);
  });
  out.codes = pick_cells(w.codes, {count, w.cols()}, row_of, same);
  out.block_rows = 1;
  return out;
}

TakenInputs take_inputs(const QuantMatrix& w, std::span<const Range> ranges) {
  if (total_size(ranges) == w.cols()) return {w, {}};
  if (w.column_order.empty() && ranges.size() == 1) return {slice(w, {0, w.rows()}, ranges[0]), {}};
  QUERN_CHECK(!w.super_scales.defined() && !w.super_minimums.defined(),
              "scattered inputs of a matrix with two levels of scales");
  const Columns columns = choose_columns(w, ranges);
  QuantMatrix out = w;
  const auto same = [](int64_t i) { return i; };
  if (w.block_cols > 0)
    change_grids(out, [&](const Tensor& grid, int64_t) {
      return pick_cells(
          grid,
          {grid.defined() ? grid.dim(0) : 0, static_cast<int64_t>(columns.blocks.size())},
          same,
          [&](int64_t i) { return columns.blocks[static_cast<size_t>(i)]; });
    });
  out.codes = gather_codes(w.codes, columns.stored);
  out.block_cols = columns.block;
  out.column_order.clear();
  if (columns.is_padded) return {std::move(out), columns.inputs};
  if (!is_identity(columns.inputs)) out.column_order = columns.inputs;
  return {std::move(out), {}};
}

}  // namespace quern
