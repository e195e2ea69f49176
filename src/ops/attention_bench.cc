// SPDX-License-Identifier: Apache-2.0
// Attention at the shapes of Qwen2-VL 2B and 7B. Counters: multiply-adds (as 2) of both products
// per second, and for decoding the bytes of keys and values; compare with `quern bench kernels
// --roofs-only`.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
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

// One step of a text model over a paged cache of 16-key blocks.
struct Model {
  int64_t heads, kv_heads, size;
};
constexpr Model k1B{12, 2, 128}, k7B{28, 4, 128};

// Every sequence computes the last `rows` positions of its `context`.
struct Paged {
  Paged(const Model& m, int64_t sequences, int64_t rows, int64_t context, DType kind)
      : blocks((context + 15) / 16),
        kv{Tensor::empty({sequences * blocks, m.kv_heads, 16, m.size}, kind),
           Tensor::empty({sequences * blocks, m.kv_heads, 16, m.size}, kind)},
        q(waves({sequences * rows, m.heads, m.size})),
        table(static_cast<size_t>(sequences * blocks)),
        contexts(static_cast<size_t>(sequences), static_cast<int32_t>(context)) {
    for (Tensor* t : {&kv.k, &kv.v}) std::memset(t->raw(), 0x3c, static_cast<size_t>(t->bytes()));
    std::iota(table.begin(), table.end(), 0);
    for (int64_t s = 0; s <= sequences; ++s) offsets.push_back(static_cast<int32_t>(s * rows));
  }
  Tensor step(Ctx& ctx) const {
    return paged_attention(
        ctx, q, kv, {offsets, contexts, table, static_cast<int32_t>(blocks)}, 0.088f);
  }
  int64_t blocks;
  PagedKv kv;
  Tensor q;
  std::vector<int32_t> table, offsets, contexts;
};

Activation activation_of(const benchmark::State& state, int argument) {
  return state.range(argument) == 1 ? Activation::bf16 : Activation::f32;
}

// Bytes of keys and values per second.
void decode(benchmark::State& state) {
  Bench bench(0, activation_of(state, 3));
  const Paged paged(state.range(0) == 1 ? k1B : k7B,
                    state.range(1),
                    1,
                    state.range(2),
                    state.range(4) == 1 ? DType::bf16 : DType::f32);
  for (auto _ : state) benchmark::DoNotOptimize(paged.step(bench.ctx));
  state.counters["GB/s"] =
      rate(state, static_cast<double>(paged.kv.k.bytes() + paged.kv.v.bytes()));
}
BENCHMARK(decode)
    ->ArgNames({"model", "sequences", "context", "activation", "bf16_kv"})
    ->ArgsProduct({{1, 7}, {1, 8}, {2048, 8192, 32768}, {1}, {1}})
    ->Args({1, 1, 8192, 0, 1})
    ->Args({1, 1, 8192, 0, 0})
    ->Args({1, 1, 8192, 1, 0})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void prefill(benchmark::State& state) {
  Bench bench(0, activation_of(state, 3));
  const Model& m = state.range(0) == 1 ? k1B : k7B;
  const int64_t rows = state.range(1), context = state.range(2);
  const Paged paged(m, 1, rows, context, DType::bf16);
  for (auto _ : state) benchmark::DoNotOptimize(paged.step(bench.ctx));
  const auto keys = static_cast<double>(rows) *
                    (static_cast<double>(context) - static_cast<double>(rows - 1) / 2);
  state.counters["GFLOP/s"] = rate(state, 4.0 * keys * static_cast<double>(m.heads * m.size));
}
BENCHMARK(prefill)
    ->ArgNames({"model", "rows", "context", "activation"})
    ->ArgsProduct({{1}, {512}, {512, 8192}, {0, 1}})
    ->Args({7, 512, 8192, 1})
    ->Args({1, 1369, 1369, 1})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace quern::ops
