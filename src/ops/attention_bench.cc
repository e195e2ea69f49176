// SPDX-License-Identifier: Apache-2.0
// Attention at the shapes of Qwen2-VL 2B. Counters: multiply-adds (as 2) of both products per
// second, and for decoding the bytes of keys and values; compare with bench/roofs.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/attention.h"

namespace quern::ops {
namespace {

struct Bench {
  Bench(int threads, Activation activation)
      : topology(probe_topology()),
        pool(threads > 0 ? threads : topology.physical_cores, topology.cpus),
        arena(Device::cpu(), int64_t{1} << 30) {
    ctx = {.device = Device::cpu(),
           .stream = {},
           .pool = &pool,
           .arena = &arena,
           .isa = topology.isa,
           .activation = activation};
    if (const char* isa = std::getenv("QUERN_ISA")) ctx.isa = std::min(ctx.isa, parse_isa(isa));
  }
  Topology topology;
  ThreadPool pool;
  Arena arena;
  Ctx ctx;
};

Tensor waves(const Shape& shape) {
  Tensor t = Tensor::empty(shape, DType::f32);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<float>()[i] = std::sin(static_cast<float>(i % 100003));
  return t;
}

benchmark::Counter rate(const benchmark::State& state, double per_run) {
  return {per_run * static_cast<double>(state.iterations()) / 1e9, benchmark::Counter::kIsRate};
}

// The vision tower: P patches of one picture, 16 heads of 80.
void tower(benchmark::State& state) {
  Bench bench(static_cast<int>(state.range(2)),
              state.range(1) == 1 ? Activation::bf16 : Activation::f32);
  const int64_t p = state.range(0), h = 16, e = 80;
  const Tensor qkv = waves({p, 3 * h, e});
  const int32_t segments[] = {0, static_cast<int32_t>(p)};
  for (auto _ : state)
    benchmark::DoNotOptimize(segment_attention(bench.ctx,
                                               qkv.slice(1, 0, h),
                                               qkv.slice(1, h, 2 * h),
                                               qkv.slice(1, 2 * h, 3 * h),
                                               segments,
                                               0.1118f));
  state.counters["GFLOP/s"] = rate(state, 4.0 * static_cast<double>(p * p * h * e));
}
BENCHMARK(tower)
    ->ArgNames({"P", "activation", "threads"})
    ->Args({1369, 0, 1})
    ->Args({5476, 0, 0})
    ->Args({1369, 1, 1})
    ->Args({5476, 1, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// The text model: 12 heads on 2, size 128, the last `rows` positions of a context.
void text(benchmark::State& state) {
  Bench bench(static_cast<int>(state.range(3)), Activation::f32);
  const int64_t rows = state.range(0), context = state.range(1), h = 12, g = 2, e = 128,
                block_size = 16;
  const int64_t blocks = (context + block_size - 1) / block_size;
  const DType kind = state.range(2) == 1 ? DType::bf16 : DType::f32;
  const Shape shape{blocks, g, block_size, e};
  const PagedKv kv{Tensor::zeros(shape, kind), Tensor::zeros(shape, kind)};
  std::vector<int32_t> table(static_cast<size_t>(blocks));
  std::iota(table.begin(), table.end(), 0);
  const int32_t offsets[] = {0, static_cast<int32_t>(rows)},
                contexts[] = {static_cast<int32_t>(context)};
  const Tensor q = waves({rows, h, e});
  for (auto _ : state)
    benchmark::DoNotOptimize(paged_attention(
        bench.ctx, q, kv, {offsets, contexts, table, static_cast<int32_t>(blocks)}, 0.088f));
  const auto keys = static_cast<double>(rows) *
                    (static_cast<double>(context) - static_cast<double>(rows - 1) / 2);
  state.counters["GFLOP/s"] = rate(state, 4.0 * keys * static_cast<double>(h * e));
  state.counters["GB/s"] = rate(state, static_cast<double>(kv.k.bytes() + kv.v.bytes()));
}
BENCHMARK(text)
    ->ArgNames({"rows", "context", "bf16", "threads"})
    ->Args({1, 2048, 0, 1})
    ->Args({1, 2048, 1, 1})
    ->Args({1, 32768, 0, 0})
    ->Args({1, 32768, 1, 0})
    ->Args({1369, 1369, 0, 0})
    ->Args({512, 8192, 1, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quern::ops
