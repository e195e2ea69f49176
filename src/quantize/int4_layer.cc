// SPDX-License-Identifier: Apache-2.0
#include "quantize/int4_layer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

constexpr int kMiddle = 8;  // the code that means 0 where there are no zero points
// AutoAWQ's order: nibble i of a word holds output kAwqOrder[i] of its eight.
constexpr std::array<int, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr std::array<int, 8> kPlainOrder = {0, 1, 2, 3, 4, 5, 6, 7};

// A matrix of nibbles that is read by (row, column).
template <typename At>
std::vector<std::byte> pack_words(int64_t rows,
                                  int64_t words,
                                  const std::array<int, 8>& order,
                                  At at) {
  std::vector<std::byte> out(static_cast<size_t>(rows * words) * 4);
  std::byte* to = out.data();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t w = 0; w < words; ++w, to += 4) {
      uint32_t word = 0;
      for (int i = 0; i < 8; ++i)
        word |= static_cast<uint32_t>(at(r, 8 * w + order[static_cast<size_t>(i)]) & 15) << (4 * i);
      std::memcpy(to, &word, 4);
    }
  return out;
}

// Eight rows to a word, lowest bits first: [rows / 8, cols].
template <typename At>
std::vector<std::byte> pack_downwards(int64_t rows, int64_t cols, At at) {
  std::vector<std::byte> out(static_cast<size_t>(rows / 8 * cols) * 4);
  std::byte* to = out.data();
  for (int64_t r = 0; r < rows; r += 8)
    for (int64_t c = 0; c < cols; ++c, to += 4) {
      uint32_t word = 0;
      for (int i = 0; i < 8; ++i) word |= static_cast<uint32_t>(at(r + i, c) & 15) << (4 * i);
      std::memcpy(to, &word, 4);
    }
  return out;
}

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> out(values.size() * sizeof(T));
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

// Scales as f16; [groups, rows] if `turned`.
std::vector<std::byte> half_scales(const Int4Layer& l, const std::string& prefix, bool turned) {
  const Tensor values = to_f32(l.scales);
  std::vector<uint16_t> out(static_cast<size_t>(values.numel()));
  for (int64_t n = 0; n < l.rows; ++n)
    for (int64_t g = 0; g < l.groups; ++g) {
      const float value = values.data<float>()[n * l.groups + g];
      const uint16_t half = float_to_f16(value);
      if (f16_to_float(half) != value)
        fail(ErrorCode::unsupported,
             "{}: the scale {} is not exact in float16, which this layout keeps",
             prefix,
             value);
      out[static_cast<size_t>(turned ? g * l.rows + n : n * l.groups + g)] = half;
    }
  return bytes_of(out);
}

void expect_whole_words(const Int4Layer& l, const std::string& prefix, int64_t rows, int64_t cols) {
  if (l.rows % rows == 0 && l.cols % cols == 0) return;
  fail(ErrorCode::unsupported,
       "{}: [{}, {}] does not fill whole words of this layout",
       prefix,
       l.rows,
       l.cols);
}

std::vector<NamedTensor> as_awq(const Int4Layer& l, const std::string& prefix) {
  expect_whole_words(l, prefix, 8, 1);
  const auto code = [&](int64_t k, int64_t n) {
    return l.codes[static_cast<size_t>(n * l.cols + k)];
  };
  const auto zero = [&](int64_t g, int64_t n) {
    return l.zeros[static_cast<size_t>(n * l.groups + g)];
  };
  return {{prefix + ".qweight",
           Stored::i32,
           {l.cols, l.rows / 8},
           pack_words(l.cols, l.rows / 8, kAwqOrder, code)},
          {prefix + ".qzeros",
           Stored::i32,
           {l.groups, l.rows / 8},
           pack_words(l.groups, l.rows / 8, kAwqOrder, zero)},
          {prefix + ".scales", Stored::f16, {l.groups, l.rows}, half_scales(l, prefix, true)}};
}

// Version 1 stores zero points less 1, version 2 as they are.
std::vector<NamedTensor> as_gptq(const Int4Layer& l, const std::string& prefix, bool is_v1) {
  expect_whole_words(l, prefix, 8, 8);
  const auto code = [&](int64_t k, int64_t n) {
    return l.codes[static_cast<size_t>(n * l.cols + k)];
  };
  const auto zero = [&](int64_t g, int64_t n) {
    return l.zeros[static_cast<size_t>(n * l.groups + g)] - (is_v1 ? 1 : 0);
  };
  std::vector<int32_t> of_group = l.of_group;
  if (of_group.empty())
    for (int64_t k = 0; k < l.cols; ++k) of_group.push_back(static_cast<int32_t>(k / l.group));
  return {{prefix + ".qweight",
           Stored::i32,
           {l.cols / 8, l.rows},
           pack_downwards(l.cols, l.rows, code)},
          {prefix + ".qzeros",
           Stored::i32,
           {l.groups, l.rows / 8},
           pack_words(l.groups, l.rows / 8, kPlainOrder, zero)},
          {prefix + ".scales", Stored::f16, {l.groups, l.rows}, half_scales(l, prefix, true)},
          {prefix + ".g_idx", Stored::i32, {l.cols}, bytes_of(of_group)}};
}

std::vector<NamedTensor> as_compressed(const Int4Layer& l,
                                       const std::string& prefix,
                                       bool has_zeros) {
  expect_whole_words(l, prefix, has_zeros ? 8 : 1, 8);
  const auto code = [&](int64_t n, int64_t k) {
    return l.codes[static_cast<size_t>(n * l.cols + k)];
  };
  const auto zero = [&](int64_t n, int64_t g) {
    return l.zeros[static_cast<size_t>(n * l.groups + g)];
  };
  const bool is_half = l.scales.dtype() == DType::f16;
  const auto stored = l.scales.contiguous().span<uint16_t>();
  std::vector<NamedTensor> out = {
      {prefix + ".weight_packed",
       Stored::i32,
       {l.rows, l.cols / 8},
       pack_words(l.rows, l.cols / 8, kPlainOrder, code)},
      {prefix + ".weight_scale",
       is_half ? Stored::f16 : Stored::bf16,
       {l.rows, l.groups},
       bytes_of(std::vector<uint16_t>(stored.begin(), stored.end()))},
      {prefix + ".weight_shape", Stored::i64, {2}, bytes_of(std::vector<int64_t>{l.rows, l.cols})}};
  if (has_zeros)
    out.push_back({prefix + ".weight_zero_point",
                   Stored::i32,
                   {l.rows / 8, l.groups},
                   pack_downwards(l.rows, l.groups, zero)});
  if (!l.of_group.empty())
    out.push_back({prefix + ".weight_g_idx", Stored::i32, {l.cols}, bytes_of(l.of_group)});
  return out;
}

void read_codes(const QuantMatrix& w, Int4Layer& out) {
  const bool is_signed = w.codes.dtype() == DType::i8;
  out.codes.resize(static_cast<size_t>(out.rows * out.cols));
  for (int64_t n = 0; n < out.rows; ++n)
    for (int64_t c = 0; c < out.cols; ++c) {
      const int64_t k = w.column_order.empty() ? c : w.column_order[static_cast<size_t>(c)];
      const int stored = is_signed ? w.codes.data<int8_t>()[n * out.cols + c]
                                   : w.codes.data<uint8_t>()[n * out.cols + c];
      out.codes[static_cast<size_t>(n * out.cols + k)] =
          static_cast<uint8_t>(stored + (is_signed ? kMiddle : 0));
    }
  if (w.column_order.empty()) return;
  out.of_group.resize(static_cast<size_t>(out.cols));
  for (int64_t c = 0; c < out.cols; ++c)
    out.of_group[static_cast<size_t>(w.column_order[static_cast<size_t>(c)])] =
        static_cast<int32_t>(c / out.group);
}

void read_zeros(const QuantMatrix& w, Int4Layer& out) {
  out.zeros.assign(static_cast<size_t>(out.rows * out.groups), kMiddle);
  if (w.offset == Offset::none) return;
  const bool is_signed = w.codes.dtype() == DType::i8;
  const Tensor values = to_f32(w.zeros.contiguous());
  for (size_t i = 0; i < out.zeros.size(); ++i)
    out.zeros[i] =
        static_cast<uint8_t>(std::lround(values.data<float>()[i]) + (is_signed ? kMiddle : 0));
}

}  // namespace

Int4Layout parse_layout(std::string_view name) {
  if (name == "awq") return Int4Layout::awq;
  if (name == "gptq") return Int4Layout::gptq;
  if (name == "compressed-tensors") return Int4Layout::compressed_tensors;
  fail(ErrorCode::invalid_argument, "--to {}: expected awq, gptq or compressed-tensors", name);
}

bool Int4Layer::is_symmetric() const {
  return std::ranges::all_of(zeros, [](uint8_t z) { return z == kMiddle; });
}

Int4Layer read_int4(const Checkpoint& checkpoint, const std::string& prefix) {
  const QuantMatrix w = read_matrix(checkpoint, prefix);
  const bool is_known = w.coding == Coding::integer && w.code_bits == 4 && w.block_rows == 1 &&
                        (w.offset == Offset::none || w.offset == Offset::zero_point) &&
                        (w.scales.dtype() == DType::f16 || w.scales.dtype() == DType::bf16);
  if (!is_known)
    fail(ErrorCode::unsupported,
         "{}: stored as {}: only 4-bit integers in groups, with scales of 16 bits, change their "
         "layout exactly",
         prefix,
         format_of(checkpoint, prefix).name());
  Int4Layer out;
  out.rows = w.rows();
  out.cols = w.cols();
  out.group = w.block_cols > 0 ? w.block_cols : out.cols;
  out.groups = w.scales.dim(1);
  out.scales = w.scales.contiguous();
  read_codes(w, out);
  read_zeros(w, out);
  return out;
}

void Int4Needs::add(const Int4Layer& layer) {
  has_zeros |= !layer.is_symmetric();
  for (const uint8_t z : layer.zeros) {
    lowest_zero = std::min<int>(lowest_zero, z);
    highest_zero = std::max<int>(highest_zero, z);
  }
  has_order |= !layer.of_group.empty();
  group = group == 0 || group == layer.group ? layer.group : -1;
}

void expect_exact(Int4Layout layout, const Int4Needs& needs) {
  const auto refuse = [](std::string_view what) {
    fail(ErrorCode::unsupported, "not exact, so nothing is written: {}", what);
  };
  if (needs.group < 0)
    refuse("layers have groups of different sizes, the config of a layout states one");
  if (layout == Int4Layout::awq && needs.has_order)
    refuse("groups are formed in order of importance (desc_act), which AWQ cannot say");
  if (layout != Int4Layout::gptq && needs.highest_zero > 15)
    refuse("some zero point is 16, which only GPTQ's version 1 can say");
  if (layout == Int4Layout::gptq && needs.highest_zero > 15 && needs.lowest_zero < 1)
    refuse("zero points range from 0 to 16: GPTQ's version 1 has no 0, its version 2 no 16");
}

std::vector<NamedTensor> write_int4(const Int4Layer& layer,
                                    const std::string& prefix,
                                    Int4Layout layout,
                                    const Int4Needs& needs) {
  switch (layout) {
    case Int4Layout::awq:
      return as_awq(layer, prefix);
    case Int4Layout::gptq:
      return as_gptq(layer, prefix, needs.lowest_zero >= 1);
    case Int4Layout::compressed_tensors:
      return as_compressed(layer, prefix, needs.has_zeros);
  }
  return {};
}

}  // namespace quern
