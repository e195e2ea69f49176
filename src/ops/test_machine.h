// SPDX-License-Identifier: Apache-2.0
// For the tests of this room: contexts of every tier that the machine has, and reproducible
// numbers.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "base/half.h"
#include "tensor/ctx.h"

namespace quern::ops {

constexpr float kEps = std::numeric_limits<float>::epsilon() / 2;  // one rounding of a float32

struct Machine {
  explicit Machine(Isa isa, int threads = 2, Activation activation = Activation::f32)
      : pool(std::make_unique<ThreadPool>(threads)),
        arena(std::make_unique<Arena>(Device::cpu(), 8 << 20)) {
    ctx = {.device = Device::cpu(),
           .stream = {},
           .pool = pool.get(),
           .arena = arena.get(),
           .isa = isa,
           .activation = activation};
  }
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Arena> arena;
  Ctx ctx;
};

struct MetaMachine {
  explicit MetaMachine(Isa isa, Activation activation = Activation::f32)
      : arena(std::make_unique<Arena>(Device::meta())) {
    ctx = {.device = Device::meta(),
           .stream = {},
           .pool = nullptr,
           .arena = arena.get(),
           .isa = isa,
           .activation = activation};
  }
  std::unique_ptr<Arena> arena;
  Ctx ctx;
};

// Every tier above the reference that this machine runs.
inline std::vector<Isa> fast_tiers() {
  std::vector<Isa> out;
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx})
    if (isa <= probe_topology().isa) out.push_back(isa);
  return out;
}

inline std::vector<Isa> all_tiers() {
  std::vector<Isa> out = fast_tiers();
  out.insert(out.begin(), Isa::scalar);
  return out;
}

// Normal deviates times `spread`.
inline Tensor random_tensor(const Shape& shape, uint32_t seed, float spread = 1.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  Tensor t = Tensor::empty(shape, DType::f32);
  for (float& value : t.span<float>()) value = normal(engine);
  return t;
}

// The values rounded to bf16 or f16, as that kind.
inline Tensor narrowed(const Tensor& t, DType dtype) {
  if (dtype == DType::f32) return t;
  Tensor out = Tensor::empty(t.shape(), dtype);
  for (int64_t i = 0; i < t.numel(); ++i)
    out.data<uint16_t>()[i] =
        dtype == DType::bf16 ? float_to_bf16(t.data<float>()[i]) : float_to_f16(t.data<float>()[i]);
  return out;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.contiguous(), y = b.contiguous();
  return x.numel() == y.numel() &&
         (x.numel() == 0 || std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())) == 0);
}

}  // namespace quern::ops
