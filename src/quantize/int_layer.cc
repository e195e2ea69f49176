// SPDX-License-Identifier: Apache-2.0
#include "quantize/int_layer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

constexpr int kMiddle = 8;  // of 4 bits
// AutoAWQ's order: nibble i of a word holds output kAwqOrder[i] of its eight.
constexpr std::array<int, 8> kAwqOrder = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr std::array<int, 8> kPlainOrder = {0, 1, 2, 3, 4, 5, 6, 7};

// The codes of one word, lowest bits first; `at(i)` is its i-th code.
template <typename At>
uint32_t word_of(int bits, At at) {
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  uint32_t word = 0;
  for (int i = 0; i < 32 / bits; ++i) word |= (static_cast<uint32_t>(at(i)) & mask) << (bits * i);
  return word;
}

// A matrix of codes that is read by (row, column), packed along its rows. `order`: which of its
// columns each code of a word is.
template <typename At>
std::vector<std::byte> pack_words(
    int bits, int64_t rows, int64_t cols, At at, const std::array<int, 8>& order = kPlainOrder) {
  const int count = 32 / bits;
  std::vector<std::byte> out(static_cast<size_t>(rows * cols / count) * 4);
  std::byte* to = out.data();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; c += count, to += 4) {
      const uint32_t word =
          word_of(bits, [&](int i) { return at(r, c + order[static_cast<size_t>(i)]); });
      std::memcpy(to, &word, 4);
    }
  return out;
}

// Several rows to a word: [rows bits / 32, cols].
template <typename At>
std::vector<std::byte> pack_downwards(int bits, int64_t rows, int64_t cols, At at) {
  const int count = 32 / bits;
  std::vector<std::byte> out(static_cast<size_t>(rows / count * cols) * 4);
  std::byte* to = out.data();
  for (int64_t r = 0; r < rows; r += count)
    for (int64_t c = 0; c < cols; ++c, to += 4) {
      const uint32_t word = word_of(bits, [&](int i) { return at(r + i, c); });
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
std::vector<std::byte> half_scales(const IntLayer& l, const std::string& prefix, bool turned) {
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

void expect_whole_words(const IntLayer& l, const std::string& prefix, int64_t rows, int64_t cols) {
  if (l.rows % rows == 0 && l.cols % cols == 0) return;
  fail(ErrorCode::unsupported,
       "{}: [{}, {}] does not fill whole words of this layout",
       prefix,
       l.rows,
       l.cols);
}

std::vector<NamedTensor> as_awq(const IntLayer& l, const std::string& prefix) {
  if (l.bits != 4) fail(ErrorCode::unsupported, "{}: AWQ has no codes of {} bits", prefix, l.bits);
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
           pack_words(4, l.cols, l.rows, code, kAwqOrder)},
          {prefix + ".qzeros",
           Stored::i32,
           {l.groups, l.rows / 8},
           pack_words(4, l.groups, l.rows, zero, kAwqOrder)},
          {prefix + ".scales", Stored::f16, {l.groups, l.rows}, half_scales(l, prefix, true)}};
}

// Version 1 stores zero points less 1, version 2 as they are.
std::vector<NamedTensor> as_gptq(const IntLayer& l, const std::string& prefix, bool is_v1) {
  const int count = 32 / l.bits;
  expect_whole_words(l, prefix, count, count);
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
           {l.cols / count, l.rows},
           pack_downwards(l.bits, l.cols, l.rows, code)},
          {prefix + ".qzeros",
           Stored::i32,
           {l.groups, l.rows / count},
           pack_words(l.bits, l.groups, l.rows, zero)},
          {prefix + ".scales", Stored::f16, {l.groups, l.rows}, half_scales(l, prefix, true)},
          {prefix + ".g_idx", Stored::i32, {l.cols}, bytes_of(of_group)}};
}

std::vector<NamedTensor> as_compressed(const IntLayer& l,
                                       const std::string& prefix,
                                       bool has_zeros) {
  const int count = 32 / l.bits;
  expect_whole_words(l, prefix, has_zeros ? count : 1, count);
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
       {l.rows, l.cols / count},
       pack_words(l.bits, l.rows, l.cols, code)},
      {prefix + ".weight_scale",
       is_half ? Stored::f16 : Stored::bf16,
       {l.rows, l.groups},
       bytes_of(std::vector<uint16_t>(stored.begin(), stored.end()))},
      {prefix + ".weight_shape", Stored::i64, {2}, bytes_of(std::vector<int64_t>{l.rows, l.cols})}};
  if (has_zeros)
    out.push_back({prefix + ".weight_zero_point",
                   Stored::i32,
                   {l.rows / count, l.groups},
                   pack_downwards(l.bits, l.rows, l.groups, zero)});
  if (!l.of_group.empty())
    out.push_back({prefix + ".weight_g_idx", Stored::i32, {l.cols}, bytes_of(l.of_group)});
  return out;
}

void read_codes(const QuantMatrix& w, IntLayer& out) {
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

void read_zeros(const QuantMatrix& w, IntLayer& out) {
  out.zeros.assign(static_cast<size_t>(out.rows * out.groups), kMiddle);
  if (w.offset == Offset::none) return;
  const bool is_signed = w.codes.dtype() == DType::i8;
  const Tensor values = to_f32(w.zeros.contiguous());
  for (size_t i = 0; i < out.zeros.size(); ++i)
    out.zeros[i] =
        static_cast<uint8_t>(std::lround(values.data<float>()[i]) + (is_signed ? kMiddle : 0));
}

}  // namespace

IntLayout parse_layout(std::string_view name) {
  if (name == "awq") return IntLayout::awq;
  if (name == "gptq") return IntLayout::gptq;
  if (name == "compressed-tensors") return IntLayout::compressed_tensors;
  fail(ErrorCode::invalid_argument, "--to {}: expected awq, gptq or compressed-tensors", name);
}

bool IntLayer::is_symmetric() const {
  return std::ranges::all_of(zeros, [&](uint8_t z) { return z == middle(); });
}

IntLayer read_int4(const Checkpoint& checkpoint, const std::string& prefix) {
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
  IntLayer out;
  out.rows = w.rows();
  out.cols = w.cols();
  out.group = w.block_cols > 0 ? w.block_cols : out.cols;
  out.groups = w.scales.dim(1);
  out.scales = w.scales.contiguous();
  read_codes(w, out);
  read_zeros(w, out);
  return out;
}

void IntNeeds::add(const IntLayer& layer) {
  bits = layer.bits;
  has_zeros |= !layer.is_symmetric();
  for (const uint8_t z : layer.zeros) {
    lowest_zero = std::min<int>(lowest_zero, z);
    highest_zero = std::max<int>(highest_zero, z);
  }
  has_order |= !layer.of_group.empty();
  group = group == 0 || group == layer.group ? layer.group : -1;
}

void expect_exact(IntLayout layout, const IntNeeds& needs) {
  const auto refuse = [](std::string_view what) {
    fail(ErrorCode::unsupported, "not exact, so nothing is written: {}", what);
  };
  if (needs.group < 0)
    refuse("layers have groups of different sizes, the config of a layout states one");
  if (layout == IntLayout::awq && needs.has_order)
    refuse("groups are formed in order of importance (desc_act), which AWQ cannot say");
  if (needs.bits == 4 && layout != IntLayout::gptq && needs.highest_zero > 15)
    refuse("some zero point is 16, which only GPTQ's version 1 can say");
  if (needs.bits == 4 && layout == IntLayout::gptq && needs.highest_zero > 15 &&
      needs.lowest_zero < 1)
    refuse("zero points range from 0 to 16: GPTQ's version 1 has no 0, its version 2 no 16");
}

std::vector<NamedTensor> write_int_layer(const IntLayer& layer,
                                         const std::string& prefix,
                                         IntLayout layout,
                                         const IntNeeds& needs) {
  switch (layout) {
    case IntLayout::awq:
      return as_awq(layer, prefix);
    case IntLayout::gptq:
      return as_gptq(layer, prefix, needs.lowest_zero >= 1);
    case IntLayout::compressed_tensors:
      return as_compressed(layer, prefix, needs.has_zeros);
  }
  return {};
}

std::vector<NamedTensor> write_bytes_layer(const IntLayer& layer, const std::string& prefix) {
  QUERN_CHECK(layer.bits == 8 && layer.groups == 1 && layer.is_symmetric(), "{}", prefix);
  NamedTensor weight{prefix + ".weight", Stored::i8, {layer.rows, layer.cols}, {}};
  weight.bytes.reserve(layer.codes.size());
  for (const uint8_t code : layer.codes)
    weight.bytes.push_back(static_cast<std::byte>(code - layer.middle()));
  const Stored stored = layer.scales.dtype() == DType::f16 ? Stored::f16 : Stored::bf16;
  NamedTensor scale{prefix + ".weight_scale", stored, {layer.rows, 1}, {}};
  const std::byte* from = layer.scales.raw();
  scale.bytes.assign(from, from + layer.scales.bytes());
  return {std::move(weight), std::move(scale)};
}

}  // namespace quern
