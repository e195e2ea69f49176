// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/code_panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {
namespace {

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

int64_t step_bytes(CodeKind kind) {
  return kCodePanel * (kind == CodeKind::bits4 ? 4 : 8);
}

// Where one column of a panel comes from: a row of one of the stacked parts, or nowhere.
struct Source {
  const QuantMatrix* part = nullptr;
  int64_t row = 0;
};

Source source_of(const std::vector<QuantMatrix>& parts, int64_t n) {
  for (const QuantMatrix& part : parts) {
    if (n < part.rows()) return {&part, n};
    n -= part.rows();
  }
  return {};
}

// Eight codes in order of k as one lane of 4 bits, or two of 8.
uint32_t load_u32(const uint8_t* p) {
  uint32_t lane;
  std::memcpy(&lane, p, sizeof lane);
  return lane;
}

struct LanePacker {
  CodeKind kind;
  uint32_t shift;  // in each byte; an addition without carries

  void operator()(const uint8_t* codes, std::byte* lane) const {
    const uint32_t low = load_u32(codes), high = load_u32(codes + 4);
    if (kind == CodeKind::bits4) {
      const uint32_t both = unsigned4(low) | unsigned4(high) << 4;
      std::memcpy(lane, &both, sizeof both);
    } else {
      const uint32_t first = low ^ shift, second = high ^ shift;
      std::memcpy(lane, &first, sizeof first);
      std::memcpy(lane + kCodePanel * 4, &second, sizeof second);
    }
  }

  // -8..7 in two's complement becomes 0..15 by turning bit 3.
  uint32_t unsigned4(uint32_t bytes) const { return (bytes ^ shift) & 0x0f0f0f0fu; }
};

bool has_nan(const uint8_t* codes, int64_t n) {
  bool found = false;
  for (int64_t i = 0; i < n; ++i) found |= (codes[i] & 0x7f) == 0x7f;
  return found;
}

// Codes of one column, inputs [begin, end). Columns beyond K are code 0, which meets inputs that
// are 0.
void pack_codes(const Source& source, const CodeSpec& spec, Range inputs, std::byte* lane) {
  const Tensor& codes = source.part->codes;
  const LanePacker pack{spec.kind,
                        spec.shift == 0                ? 0
                        : spec.kind == CodeKind::bits4 ? 0x08080808u
                                                       : 0x80808080u};
  const uint8_t* row = codes.data<uint8_t>() + source.row * codes.stride(0);
  int64_t k = inputs.begin;
  for (; k + kCodeStep <= inputs.end; k += kCodeStep, lane += step_bytes(spec.kind))
    pack(row + k, lane);
  if (k == inputs.end) return;
  uint8_t last[kCodeStep] = {};
  std::copy(row + k, row + inputs.end, last);
  pack(last, lane);
}

bool is_number(const Source& source, const CodeSpec& spec) {
  const Tensor& codes = source.part->codes;
  return spec.kind != CodeKind::e4m3 ||
         !has_nan(codes.data<uint8_t>() + source.row * codes.stride(0), codes.dim(1));
}

int64_t block_row(const Source& source) {
  const int64_t rows = source.part->block_rows > 0 ? source.part->block_rows : source.part->rows();
  return source.row / rows;
}

// The numbers of one column, from a grid of the part: line i is block column i. `absent` is what no
// grid means; such lines are float32.
void pack_lines(
    const Tensor& grid, const Source& source, int64_t column, const CodeLines& out, float absent) {
  if (!out.data.defined()) return;
  const int64_t item = bits_of(out.data.dtype()) / 8, lines = out.data.dim(0);
  std::byte* to = out.data.raw() + column * item;
  for (int64_t line = 0; line < lines; ++line, to += kCodePanel * item) {
    const void* from = &absent;
    if (grid.defined())
      from = grid.raw() + (block_row(source) * grid.stride(0) +
                           std::min(line, grid.dim(1) - 1) * grid.stride(1)) *
                              item;
    std::memcpy(to, from, static_cast<size_t>(item));
  }
}

// Whole numbers up to 256 are exact in bf16.
void store(float whole, DType dtype, std::byte* to) {
  const auto narrow = static_cast<int8_t>(dtype == DType::i8 ? whole : 0);
  const uint16_t half = float_to_bf16(whole);
  std::memcpy(to,
              dtype == DType::i8 ? static_cast<const void*>(&narrow) : &half,
              static_cast<size_t>(bits_of(dtype) / 8));
}

bool pack_zeros(const Tensor& zeros,
                const Source& source,
                const CodeSpec& spec,
                int64_t column,
                const Tensor& lines) {
  const Tensor row = to_f32(zeros.select(0, block_row(source)).contiguous());
  const auto centre = static_cast<float>(spec.shift != 0 ? 0 : spec.centre);
  const float most = lines.dtype() == DType::i8 ? 127 : 256;
  const int64_t item = bits_of(lines.dtype()) / 8;
  std::byte* to = lines.raw() + column * item;
  for (const float zero : row.span<float>()) {
    const float below = centre - zero;
    if (!(std::abs(below) <= most) || below != std::nearbyint(below)) return false;
    store(below, lines.dtype(), to);
    to += kCodePanel * item;
  }
  return true;
}

int64_t lines_for(int64_t groups, int64_t per_line) {
  return std::max<int64_t>(1, ceil_div(groups, per_line));
}

}  // namespace

CodePanels::CodePanels(const CodeSpec& spec, int64_t rows, int64_t cols, Device device)
    : panels(ceil_div(rows, kCodePanel)), groups(ceil_div(cols, spec.group)) {
  codes = Tensor::empty(
      {panels, groups * spec.group / kCodeStep, step_bytes(spec.kind)}, DType::u8, device);
  const auto lines = [&](CodeLines& out, DType dtype, int64_t per_line) {
    out.groups = per_line;
    out.data = Tensor::empty({panels, lines_for(groups, per_line), kCodePanel}, dtype, device);
  };
  lines(scales, spec.scale, spec.scale_groups);
  if (spec.offset == Offset::zero_point) {
    lines(zeros, spec.kind == CodeKind::bits4 ? DType::i8 : DType::bf16, spec.scale_groups);
    any_zero = Tensor::zeros({1}, DType::u8, device);
  }
  if (spec.offset == Offset::minimum) lines(minimums, spec.minimum, spec.scale_groups);
  if (spec.super_groups == 0) return;
  lines(super_scales, spec.super_scale, spec.super_groups);
  if (spec.offset == Offset::minimum) lines(super_minimums, spec.super_minimum, spec.super_groups);
}

void CodePanels::note_zeros() {
  if (!zeros.data.defined()) return;
  const std::byte* begin = zeros.data.raw();
  *any_zero.data<uint8_t>() =
      std::any_of(begin, begin + zeros.data.bytes(), [](std::byte b) { return b != std::byte{0}; });
}

void CodePanels::each_tensor(FunctionRef<void(Tensor&)> visit) {
  for (Tensor* t : {&codes,
                    &scales.data,
                    &super_scales.data,
                    &minimums.data,
                    &super_minimums.data,
                    &zeros.data,
                    &any_zero})
    if (t->defined()) visit(*t);
}

int64_t CodePanels::bytes() const {
  int64_t sum = codes.bytes();
  for (const CodeLines* lines : {&scales, &super_scales, &minimums, &super_minimums, &zeros})
    if (lines->data.defined()) sum += lines->data.bytes();
  return sum;
}

PackFault pack_panel(const std::vector<QuantMatrix>& parts,
                     const CodeSpec& spec,
                     int64_t panel,
                     CodePanels& out) {
  CodeLines mine[] = {out.scales, out.super_scales, out.minimums, out.super_minimums, out.zeros};
  for (CodeLines& lines : mine) {
    if (!lines.data.defined()) continue;
    lines.data = lines.data.select(0, panel);
    std::memset(lines.data.raw(), 0, static_cast<size_t>(lines.data.bytes()));
  }
  Source sources[kCodePanel];
  int64_t columns = 0;
  for (; columns < kCodePanel; ++columns) {
    const Source source = sources[columns] = source_of(parts, panel * kCodePanel + columns);
    if (source.part == nullptr) break;
    const QuantMatrix& w = *source.part;
    if (!is_number(source, spec)) return PackFault::not_a_number;
    pack_lines(w.scales, source, columns, mine[0], 1);
    pack_lines(w.super_scales, source, columns, mine[1], 1);
    pack_lines(w.minimums, source, columns, mine[2], 0);
    pack_lines(w.super_minimums, source, columns, mine[3], 1);
    if (w.zeros.defined() && !pack_zeros(w.zeros, source, spec, columns, mine[4].data))
      return PackFault::zero_point;
  }
  const Tensor codes = out.codes.select(0, panel);
  const int64_t cols = parts[0].cols();
  if (columns < kCodePanel || codes.dim(0) * kCodeStep != cols)
    std::memset(codes.raw(), 0, static_cast<size_t>(codes.bytes()));
  for (int64_t k = 0; k < cols;
       k += kCodeBlock)  // a tile of lanes stays in the near cache while its columns come in
    for (int64_t column = 0; column < columns; ++column)
      pack_codes(sources[column],
                 spec,
                 {k, std::min(k + kCodeBlock, cols)},
                 codes.raw() + k / kCodeStep * codes.dim(1) + column * 4);
  return PackFault::none;
}

}  // namespace quern::ops::cpu
