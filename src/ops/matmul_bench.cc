// SPDX-License-Identifier: Apache-2.0
// The packed product at the shapes of Qwen2-VL 2B. Arguments: T, N, K, weight (0 f32, 1 bf16, 2
// f16), activation (0 f32, 1 bf16), threads. Counters: bytes of weights and multiply-adds (as 2)
// per second; compare with bench/roofs.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "ops/matmul.h"

namespace quern::ops {
namespace {

void product(benchmark::State& state) {
  const int64_t t = state.range(0), n = state.range(1), k = state.range(2);
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
          .activation = state.range(4) == 1 ? Activation::bf16 : Activation::f32};
  if (const char* isa = std::getenv("QUERN_ISA")) ctx.isa = std::min(ctx.isa, parse_isa(isa));
  constexpr DType kKinds[] = {DType::f32, DType::bf16, DType::f16};
  QuantMatrix w;
  w.codes = Tensor::zeros({n, k}, kKinds[state.range(3)]);
  const auto packed = pack_weight(ctx, {w});
  w = {};
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

}  // namespace
}  // namespace quern::ops
