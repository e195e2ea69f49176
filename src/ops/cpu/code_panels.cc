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

// A panel of the weight being filled: where each line of a kind lies.
struct Target {
  const CodePanels& panels;
  int64_t panel;

  // Shows every copy of every line of a kind: its index along the row, and where it goes.
  void each_line(const CodeLines& lines,
                 FunctionRef<void(int64_t line, std::byte* to)> visit) const {
    for (int64_t block = 0; block < panels.blocks(); ++block) {
      const Range range = panels.range(block);
      for (int64_t line = range.begin / lines.groups; line * lines.groups < range.end; ++line)
        visit(line, panels.line(lines, panel, block, std::max(range.begin, line * lines.groups)));
    }
  }
};

// The numbers of one column, from a grid of the part: line i is block column i. `absent` is what no
// grid means; such lines are float32.
void pack_lines(const Tensor& grid,
                const Source& source,
                int64_t column,
                const CodeLines& lines,
                const Target& target,
                float absent) {
  if (!lines.is_present()) return;
  const int64_t item = bits_of(lines.dtype) / 8;
  target.each_line(lines, [&](int64_t line, std::byte* to) {
    const void* from = &absent;
    if (grid.defined())
      from = grid.raw() + (block_row(source) * grid.stride(0) +
                           std::min(line, grid.dim(1) - 1) * grid.stride(1)) *
                              item;
    std::memcpy(to + column * item, from, static_cast<size_t>(item));
  });
}

// Whole numbers up to 256 are exact in bf16.
void store(float whole, DType dtype, std::byte* to) {
  const auto narrow = static_cast<int8_t>(dtype == DType::i8 ? whole : 0);
  const uint16_t half = float_to_bf16(whole);
  std::memcpy(to,
              dtype == DType::i8 ? static_cast<const void*>(&narrow) : &half,
              static_cast<size_t>(bits_of(dtype) / 8));
}

bool pack_zeros(const Source& source,
                const CodeSpec& spec,
                int64_t column,
                const CodeLines& lines,
                const Target& target) {
  const Tensor& zeros = source.part->zeros;
  const Tensor row = zeros.defined() ? to_f32(zeros.select(0, block_row(source)).contiguous())
                                     : Tensor::zeros({1}, DType::f32);
  const auto centre = static_cast<float>(spec.shift != 0 ? 0 : spec.centre);
  const float most = lines.dtype == DType::i8 ? 127 : 256;
  const int64_t item = bits_of(lines.dtype) / 8;
  bool is_good = true;
  target.each_line(lines, [&](int64_t line, std::byte* to) {
    const float below = centre - row.data<float>()[std::min(line, row.numel() - 1)];
    is_good = is_good && std::abs(below) <= most && below == std::nearbyint(below);
    store(is_good ? below : 0.0f, lines.dtype, to + column * item);
  });
  return is_good;
}

}  // namespace

CodePanels::CodePanels(const CodeSpec& spec, int64_t rows, int64_t cols, Device device)
    : groups_(ceil_div(cols, spec.group)),
      block_groups_(std::clamp<int64_t>(groups_, 1, kCodeBlock / spec.group)),
      blocks_(std::max<int64_t>(1, ceil_div(groups_, block_groups_))),
      group_bytes_(spec.group / kCodeStep * step_bytes(spec.kind)) {
  add_lines(scales, spec.scale, spec.scale_groups);
  if (spec.offset == Offset::zero_point) {
    add_lines(zeros, spec.kind == CodeKind::bits4 ? DType::i8 : DType::bf16, spec.scale_groups);
    any_zero_ = Tensor::zeros({1}, DType::u8, device);
  }
  if (spec.offset == Offset::minimum) add_lines(minimums, spec.minimum, spec.scale_groups);
  if (spec.super_groups > 0) {
    add_lines(super_scales, spec.super_scale, spec.super_groups);
    if (spec.offset == Offset::minimum)
      add_lines(super_minimums, spec.super_minimum, spec.super_groups);
  }
  data_ =
      Tensor::empty({ceil_div(rows, kCodePanel), blocks_ * header_bytes_ + groups_ * group_bytes_},
                    DType::u8,
                    device);
}

void CodePanels::add_lines(CodeLines& lines, DType dtype, int64_t groups) {
  const bool is_aligned = block_groups_ % groups == 0 || groups % block_groups_ == 0;
  lines = {.dtype = dtype,
           .groups = groups,
           .offset = header_bytes_,
           .count = is_aligned ? ceil_div(block_groups_, groups) : block_groups_ / groups + 2};
  header_bytes_ += lines.bytes();
}

void CodePanels::note_zeros() {
  if (!zeros.is_present()) return;
  uint8_t& found = *any_zero_.data<uint8_t>();
  for (int64_t panel = 0; panel < panels() && found == 0; ++panel)
    Target{*this, panel}.each_line(zeros, [&](int64_t, const std::byte* line) {
      found |= std::any_of(
          line, line + zeros.line_bytes(), [](std::byte b) { return b != std::byte{0}; });
    });
}

void CodePanels::each_tensor(FunctionRef<void(Tensor&)> visit) {
  visit(data_);
  if (any_zero_.defined()) visit(any_zero_);
}

PackFault pack_panel(const std::vector<QuantMatrix>& parts,
                     const CodeSpec& spec,
                     int64_t panel,
                     CodePanels& out) {
  const Target target{out, panel};
  Source sources[kCodePanel];
  int64_t columns = 0;
  while (columns < kCodePanel &&
         (sources[columns] = source_of(parts, panel * kCodePanel + columns)).part != nullptr)
    ++columns;
  const int64_t cols = parts[0].cols();
  if (columns < kCodePanel || out.groups() * spec.group != cols)
    std::memset(out.block(panel, 0), 0, static_cast<size_t>(out.bytes() / out.panels()));
  for (int64_t column = 0; column < columns; ++column) {
    const Source& source = sources[column];
    const QuantMatrix& w = *source.part;
    if (!is_number(source, spec)) return PackFault::not_a_number;
    pack_lines(w.scales, source, column, out.scales, target, 1);
    pack_lines(w.super_scales, source, column, out.super_scales, target, 1);
    pack_lines(w.minimums, source, column, out.minimums, target, 0);
    pack_lines(w.super_minimums, source, column, out.super_minimums, target, 1);
    if (out.zeros.is_present() && !pack_zeros(source, spec, column, out.zeros, target))
      return PackFault::zero_point;
  }
  for (int64_t block = 0; block < out.blocks();
       ++block) {  // its lanes stay in the near cache while its columns come in
    const Range range = out.range(block);
    for (int64_t column = 0; column < columns; ++column)
      pack_codes(sources[column],
                 spec,
                 {range.begin * spec.group, std::min(range.end * spec.group, cols)},
                 out.codes(panel, block) + column * 4);
  }
  return PackFault::none;
}

}  // namespace quern::ops::cpu
