// SPDX-License-Identifier: Apache-2.0
#include "bench/random_weights.h"

#include <random>

#include "base/error.h"
#include "base/half.h"

namespace quern::bench {
namespace {

constexpr int64_t kGroup = 128, kBlock = 32, kSuperBlock = 256;

// Random bits with `mask` applied to each eight bytes.
void fill_bits(const Tensor& t, uint64_t mask) {
  std::mt19937_64 random(static_cast<uint64_t>(t.numel()));
  auto* words = reinterpret_cast<uint64_t*>(t.raw());
  for (int64_t i = 0; i < t.bytes() / 8; ++i) words[i] = random() & mask;
}

Tensor random_codes(int64_t n, int64_t k, DType dtype, uint64_t byte_mask) {
  const Tensor out = Tensor::zeros({n, k}, dtype);
  fill_bits(out, byte_mask * 0x0101010101010101);
  return out;
}

template <typename T>
Tensor constant(int64_t n, int64_t columns, DType dtype, T value) {
  const Tensor out = Tensor::empty({n, columns}, dtype);
  std::fill_n(out.data<T>(), out.numel(), value);
  return out;
}

Tensor f16_scales(int64_t n, int64_t columns, float value) {
  return constant<uint16_t>(n, columns, DType::f16, float_to_f16(value));
}

QuantMatrix bf16(int64_t n, int64_t k) {
  QuantMatrix w;
  w.codes = Tensor::zeros({n, k}, DType::bf16);
  fill_bits(w.codes, 0xbcffbcffbcffbcff);  // finite: magnitudes up to 0.03
  return w;
}

QuantMatrix grouped(int64_t n, int64_t k, int bits, uint8_t zero) {
  QuantMatrix w;
  w.codes = random_codes(n, k, DType::u8, (uint64_t{1} << bits) - 1);
  w.coding = Coding::integer;
  w.code_bits = bits;
  w.block_cols = kGroup;
  const int64_t groups = (k + kGroup - 1) / kGroup;
  w.scales = f16_scales(n, groups, 0.05f / static_cast<float>(1 << bits));
  w.offset = Offset::zero_point;
  w.zeros = constant<uint8_t>(n, groups, DType::u8, zero);
  return w;
}

QuantMatrix int8(int64_t n, int64_t k) {
  return grouped(n, k, 8, 128);
}

QuantMatrix int4(int64_t n, int64_t k) {
  return grouped(n, k, 4, 8);
}

// Blocks of 32 with one scale; codes lie around 0.
QuantMatrix blocked(int64_t n, int64_t k, int bits) {
  QuantMatrix w;
  w.codes = random_codes(n, k, DType::i8, (uint64_t{1} << bits) - 1);
  w.coding = Coding::integer;
  w.code_bits = bits;
  w.block_cols = kBlock;
  w.scales = f16_scales(n, (k + kBlock - 1) / kBlock, 0.05f / static_cast<float>(1 << bits));
  return w;
}

QuantMatrix q8_0(int64_t n, int64_t k) {
  return blocked(n, k, 8);
}

QuantMatrix q4_0(int64_t n, int64_t k) {
  QuantMatrix w = blocked(n, k, 4);
  auto* codes = w.codes.data<int8_t>();
  for (int64_t i = 0; i < w.codes.numel(); ++i) codes[i] = static_cast<int8_t>(codes[i] - 8);
  return w;
}

// Blocks of 32 with scales and minimums of 6 bits, under one factor each for 256.
QuantMatrix q4_k(int64_t n, int64_t k) {
  const int64_t blocks = (k + kBlock - 1) / kBlock, supers = (k + kSuperBlock - 1) / kSuperBlock;
  QuantMatrix w;
  w.codes = random_codes(n, k, DType::u8, 15);
  w.coding = Coding::integer;
  w.code_bits = 4;
  w.block_cols = kBlock;
  w.super_cols = kSuperBlock;
  w.scales = constant<uint8_t>(n, blocks, DType::u8, 32);
  w.super_scales = f16_scales(n, supers, 1e-4f);
  w.offset = Offset::minimum;
  w.minimums = constant<uint8_t>(n, blocks, DType::u8, 32);
  w.super_minimums = f16_scales(n, supers, -7.5e-4f);
  return w;
}

// e4m3 with a scale for each output, without its two NaNs.
QuantMatrix fp8(int64_t n, int64_t k) {
  QuantMatrix w;
  w.codes = random_codes(n, k, DType::f8_e4m3, 0xbf);
  w.block_cols = k;
  w.scales = constant<float>(n, 1, DType::f32, 0.02f);
  return w;
}

constexpr WeightKind kKinds[] = {
    {"bf16", 16, bf16},
    {"int8", 8 + 24.0 / kGroup, int8},
    {"int4", 4 + 20.0 / kGroup, int4},
    {"fp8", 8, fp8},
    {"q8_0", 8.5, q8_0},
    {"q4_0", 4.5, q4_0},
    {"q4_k", 4.5, q4_k},
};

}  // namespace

std::span<const WeightKind> weight_kinds() {
  return kKinds;
}

const WeightKind& weight_kind(std::string_view name) {
  std::string known;
  for (const WeightKind& kind : kKinds) {
    if (kind.name == name) return kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  fail(ErrorCode::invalid_argument, "--types: expected some of {}, got \"{}\"", known, name);
}

}  // namespace quern::bench
