// SPDX-License-Identifier: Apache-2.0
// The packed product at the shapes of Qwen2-VL 2B. Arguments: T, N, K, weight (0 f32, 1 bf16, 2
// f16, 3 int4 in groups of 128, 4 int8 in groups of 128, 5 int4 in groups of 32, 6 e4m3),
// activation (0 f32, 1 bf16, 2 int8), threads. Counters: bytes of weights and multiply-adds (as 2)
// per second; compare with `quern bench kernels --roofs-only`.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "ops/matmul.h"

namespace quern::ops {
namespace {

QuantMatrix codes(int64_t n, int64_t k, int bits, int64_t group) {
  QuantMatrix w;
  w.codes = Tensor::zeros({n, k}, bits == 8 ? DType::i8 : DType::u8);
  w.coding = Coding::integer;
  w.code_bits = bits;
  w.block_cols = group;
  w.scales = Tensor::zeros({n, (k + group - 1) / group}, DType::f16);
  if (bits == 8) return w;
  w.offset = Offset::zero_point;
  w.zeros = Tensor::zeros(w.scales.shape(), DType::u8);
  return w;
}

QuantMatrix weight(int64_t kind, int64_t n, int64_t k) {
  constexpr DType kFloats[] = {DType::f32, DType::bf16, DType::f16};
  QuantMatrix w;
  if (kind < 3) {
    w.codes = Tensor::zeros({n, k}, kFloats[kind]);
  } else if (kind == 6) {
    w.codes = Tensor::zeros({n, k}, DType::f8_e4m3);
    w.block_rows = w.block_cols = 128;
    w.scales = Tensor::zeros({(n + 127) / 128, (k + 127) / 128}, DType::f32);
  } else {
    w = codes(n, k, kind == 4 ? 8 : 4, kind == 5 ? 32 : 128);
  }
  return w;
}

void product(benchmark::State& state) {
  const int64_t t = state.range(0), n = state.range(1), k = state.range(2);
  constexpr Activation kActivations[] = {Activation::f32, Activation::bf16, Activation::int8};
  const Topology topology = probe_topology();
  const int threads =
      state.range(5) > 0 ? static_cast<int>(state.range(5)) : topology.physical_cores;
  ThreadPool pool(threads, topology.cpus);
  Arena arena(Device::cpu(), int64_t{1} << 30);
  Ctx ctx{.device = Device::cpu(),
          .stream = {},
          .pool = &pool,
          .arena = &arena,
          .isa = topology.isa,
          .activation = kActivations[state.range(4)]};
  if (const char* isa = std::getenv("QUERN_ISA")) ctx.isa = std::min(ctx.isa, parse_isa(isa));
  const auto packed = pack_weight(ctx, {weight(state.range(3), n, k)});
  const Tensor x = Tensor::zeros({t, k}, DType::f32);
  for (auto _ : state) benchmark::DoNotOptimize(matmul(ctx, x, *packed));
  const auto runs = static_cast<double>(state.iterations());
  state.counters["GB/s"] = benchmark::Counter(runs * static_cast<double>(packed->bytes()) / 1e9,
                                              benchmark::Counter::kIsRate);
  state.counters["GFLOP/s"] =
      benchmark::Counter(runs * 2e-9 * static_cast<double>(t) * static_cast<double>(n * k),
                         benchmark::Counter::kIsRate);
  state.SetLabel(packed->kernel());
}

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "N", "K", "weight", "activation", "threads"})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
  for (const int64_t weight : {0, 1, 2}) {
    for (const int64_t threads : {1, 0})
      for (const int64_t activation : {0, 1}) b->Args({1, 8960, 1536, weight, activation, threads});
    b->Args({4, 8960, 1536, weight, weight == 1, 0});
    b->Args({1, 1536, 8960, weight, weight == 1, 0});
    b->Args({1, 151936, 1536, weight, weight == 1, 0});
    for (const int64_t activation : {0, 1}) {
      b->Args({256, 17920, 1536, weight, activation, 0});
      b->Args({1369, 1536, 8960, weight, activation, 0});
      b->Args({5476, 5120, 1280, weight, activation, 0});
      b->Args({5476, 1280, 5120, weight, activation, 0});
    }
  }
}
BENCHMARK(product)->Apply(shapes);

void code_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "N", "K", "weight", "activation", "threads"})
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
  for (const int64_t weight : {3, 4, 5, 6})
    for (const int64_t activation : {1, 2})
      for (const int64_t t : {1, 2, 4, 8, 16, 64, 256})
        b->Args({t, t == 1 ? 151936 : 17920, 1536, weight, activation, 0});
}
BENCHMARK(product)->Name("codes")->Apply(code_shapes);

}  // namespace
}  // namespace quern::ops
