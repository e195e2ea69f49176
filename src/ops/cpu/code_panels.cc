// SPDX-License-Identifier: Apache-2.0
#include "ops/cpu/code_panels.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "ops/cpu/table_codes.h"
#include "ops/pack.h"
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

using Bytes = uint8_t __attribute__((vector_size(16)));

// 32 inputs of 4 columns: nibble c of word k is column c.
void pack_words(const uint8_t (&columns)[4][32], uint8_t turn, std::byte* out) {
  for (int64_t half = 0; half < 32; half += 16, out += 32) {
    Bytes nibbles[4];
    for (int c = 0; c < 4; ++c) {
      std::memcpy(&nibbles[c], columns[c] + half, sizeof(Bytes));
      nibbles[c] = (nibbles[c] ^ turn) & 15;
    }
    const Bytes low = nibbles[0] | nibbles[1] << 4, high = nibbles[2] | nibbles[3] << 4;
    const Bytes first =
        __builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const Bytes second = __builtin_shufflevector(
        low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    std::memcpy(out, &first, sizeof first);
    std::memcpy(out + 16, &second, sizeof second);
  }
}

// The same for four columns side by side (table_codes.h), those that there are.
void pack_columns(std::span<const Source> columns,
                  const CodeSpec& spec,
                  Range inputs,
                  int64_t column,
                  std::byte* block) {
  const int64_t chunks = ceil_div(inputs.size(), kTableChunk);
  const auto turn = static_cast<uint8_t>(spec.shift != 0 ? 8 : 0);  // -8..7 becomes 0..15
  for (int64_t k = 0; k < chunks * kTableChunk; k += 32) {
    const auto count = static_cast<size_t>(std::clamp<int64_t>(inputs.size() - k, 0, 32));
    uint8_t now[4][32];
    if (count < 32 || columns.size() < 4) std::memset(now, turn, sizeof now);  // code 0
    for (size_t c = 0; c < columns.size(); ++c) {
      const Tensor& codes = columns[c].part->codes;
      const uint8_t* from =
          codes.data<uint8_t>() + columns[c].row * codes.stride(0) + inputs.begin + k;
      count == 32 ? std::memcpy(now[c], from, 32) : std::memcpy(now[c], from, count);
    }
    pack_words(now, turn, block + table_codes_at(k, column));
  }
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

enum class PackFault : uint8_t { none, not_a_number, zero_point };

// Fills columns of a panel; says what was wrong with them.
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
    const Range inputs{range.begin * spec.group, std::min(range.end * spec.group, cols)};
    std::byte* codes = out.codes(panel, block);
    const int64_t step = out.order() == CodeOrder::tiles ? 4 : 1;
    for (int64_t column = 0; column < columns; column += step)
      if (out.order() == CodeOrder::tiles)
        pack_columns({sources + column, static_cast<size_t>(std::min(step, columns - column))},
                     spec,
                     inputs,
                     column,
                     codes);
      else
        pack_codes(sources[column], spec, inputs, codes + column * 4);
  }
  return PackFault::none;
}

// The lines of some groups of one block, one after the other in `out`, each times `line` unless
// that is null.
void widen_lines(const CodeRowKernels& kernels,
                 const CodePanels& panels,
                 const CodeLines& lines,
                 int64_t panel,
                 Range groups,
                 const float* line,
                 float* out) {
  const int64_t block = groups.begin / panels.block_groups();
  const auto at = [&](int64_t g) { return panels.line(lines, panel, block, g); };
  if (lines.groups == 1)
    return kernels.widen(at(groups.begin), lines.dtype, groups.size() * kCodePanel, line, out);
  for (int64_t g = groups.begin; g < groups.end; ++g, out += kCodePanel)
    if (g == groups.begin || g % lines.groups == 0)
      kernels.widen(at(g), lines.dtype, kCodePanel, line, out);
    else
      std::copy_n(out - kCodePanel, kCodePanel, out);
}

}  // namespace

CodePanels::CodePanels(
    const CodeSpec& spec, int64_t rows, int64_t cols, Device device, CodeOrder order)
    : order_(order),
      groups_(ceil_div(cols, spec.group)),
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
  const int64_t chunks = ceil_div(cols, kTableChunk),
                code_bytes = order == CodeOrder::tiles ? chunks * kTableChunkBytes * kCodePanel
                                                       : groups_ * group_bytes_;
  data_ = Tensor::empty(
      {ceil_div(rows, kCodePanel), blocks_ * header_bytes_ + code_bytes}, DType::u8, device);
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

void widen_block(const CodeRowKernels& kernels,
                 const CodePanels& panels,
                 const CodeLines& lines,
                 const CodeLines& super,
                 int64_t panel,
                 int64_t block,
                 float* out) {
  const Range range = panels.range(block);
  if (!super.is_present()) return widen_lines(kernels, panels, lines, panel, range, nullptr, out);
  alignas(64) float line[kCodePanel];
  for (int64_t g = range.begin, end; g < range.end; out += (end - g) * kCodePanel, g = end) {
    end = std::min(range.end, (g / super.groups + 1) * super.groups);
    kernels.widen(panels.line(super, panel, block, g), super.dtype, kCodePanel, nullptr, line);
    widen_lines(kernels, panels, lines, panel, {g, end}, line, out);
  }
}

void pack_panels(const Ctx& ctx,
                 const std::vector<QuantMatrix>& parts,
                 const CodeSpec& spec,
                 CodePanels& out) {
  std::vector<QuantMatrix> inner = parts;  // rows of codes lie in order
  for (QuantMatrix& part : inner) {
    validate(part);
    if (part.codes.stride(1) != 1) part.codes = part.codes.contiguous();
  }
  std::atomic<PackFault> fault{PackFault::none};
  ctx.pool->parallel_for(out.panels(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t panel = begin; panel < end; ++panel)
      if (const PackFault found = pack_panel(inner, spec, panel, out); found != PackFault::none)
        fault = found;
  });
  if (fault == PackFault::not_a_number)
    fail(ErrorCode::data_loss,
         "a weight of [{}, {}] holds values that are not numbers (e4m3 code 0x7f or 0xff)",
         stacked_rows(parts),
         parts[0].cols());
  if (fault == PackFault::zero_point)
    fail(ErrorCode::data_loss,
         "a weight of [{}, {}] has zero points that are no whole numbers near its codes",
         stacked_rows(parts),
         parts[0].cols());
  out.note_zeros();
}

}  // namespace quern::ops::cpu
