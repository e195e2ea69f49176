// SPDX-License-Identifier: Apache-2.0
#include "bench/roofs.h"

#include <emmintrin.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "bench/peaks.h"
#include "tensor/tensor.h"

namespace quern::bench {
namespace {

constexpr int kChunksPerThread = 16;
constexpr int kRepeats = 8;

// Seconds of the fastest of several runs of `chunks` pieces of work.
template <typename Body>
double best_seconds(ThreadPool& pool, int64_t chunks, const Body& body) {
  const MonotonicClock clock;
  int64_t best = INT64_MAX;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const int64_t begin = clock.now_us();
    pool.parallel_for(chunks, 1, [&](int64_t from, int64_t to, int) {
      for (int64_t i = from; i < to; ++i) body(i);
    });
    best = std::min(best, clock.now_us() - begin);
  }
  return static_cast<double>(std::max<int64_t>(best, 1)) * 1e-6;
}

// Eight streams: a core that reads one sequential stream leaves bandwidth unused.
void read_streams(const std::byte* data, int64_t bytes) {
  constexpr int kStreams = 8;
  const int64_t length = bytes / kStreams;
  __m128i sum[kStreams] = {};
  for (int64_t i = 0; i < length; i += 64)
    for (int s = 0; s < kStreams; ++s) {
      const auto* line = reinterpret_cast<const __m128i*>(data + s * length + i);
      for (int part = 0; part < 4; ++part)
        sum[s] = _mm_add_epi64(sum[s], _mm_load_si128(line + part));
    }
  for (__m128i& s : sum) asm volatile("" : "+x"(s));
}

double read_gb_s(ThreadPool& pool) {
  constexpr int64_t kBytes = int64_t{512} << 20;  // far beyond every cache
  const int64_t chunks = pool.size() * kChunksPerThread;
  const int64_t chunk = kBytes / chunks / 4096 * 4096;
  const Tensor buffer = Tensor::empty({chunk * chunks}, DType::u8);
  const auto part = [&](int64_t i) { return buffer.raw() + i * chunk; };
  pool.parallel_for(chunks, 1, [&](int64_t from, int64_t to, int) {
    std::memset(part(from), 1, static_cast<size_t>((to - from) * chunk));
  });
  const double s = best_seconds(pool, chunks, [&](int64_t i) { read_streams(part(i), chunk); });
  return static_cast<double>(chunk * chunks) / s * 1e-9;
}

double peak_gop_s(ThreadPool& pool, Isa isa, Unit unit) {
  const PeakLoop loop = peak_loop(isa, unit);
  if (loop.run == nullptr) return 0;
  constexpr int64_t kOpsPerChunk = int64_t{1} << 28;  // about a millisecond
  const int64_t steps = kOpsPerChunk / loop.ops_per_step;
  const int64_t chunks = pool.size() * kChunksPerThread;
  const double s = best_seconds(pool, chunks, [&](int64_t) { loop.run(steps); });
  return static_cast<double>(chunks * steps * loop.ops_per_step) / s * 1e-9;
}

}  // namespace

void Roofs::raise(const Roofs& other) {
  read_gb_s = std::max(read_gb_s, other.read_gb_s);
  f32_gop_s = std::max(f32_gop_s, other.f32_gop_s);
  bf16_gop_s = std::max(bf16_gop_s, other.bf16_gop_s);
  int8_gop_s = std::max(int8_gop_s, other.int8_gop_s);
}

Json Roofs::to_json() const {
  return {{"read_gb_s", read_gb_s},
          {"f32_gop_s", f32_gop_s},
          {"bf16_gop_s", bf16_gop_s},
          {"int8_gop_s", int8_gop_s}};
}

Roofs measure_roofs(ThreadPool& pool, Isa isa) {
  return {.read_gb_s = read_gb_s(pool),
          .f32_gop_s = peak_gop_s(pool, isa, Unit::f32),
          .bf16_gop_s = peak_gop_s(pool, isa, Unit::bf16),
          .int8_gop_s = peak_gop_s(pool, isa, Unit::int8)};
}

}  // namespace quern::bench
