// SPDX-License-Identifier: Apache-2.0
// Measures the two roofs of a machine: reading memory, and float32 multiply-adds in registers. usage: roofs THREADS
#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

namespace {

double seconds(const std::function<void(int)>& body, int threads) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> pool;
  for (int t = 0; t < threads; ++t) pool.emplace_back(body, t);
  for (auto& t : pool) t.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

#ifdef __AVX512F__
using Vector = __m512;
Vector zero() { return _mm512_setzero_ps(); }
Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
#else
using Vector = __m256;
Vector zero() { return _mm256_setzero_ps(); }
Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
#endif
constexpr int kLanes = sizeof(Vector) / 4;

volatile float sink;

// Four streams a thread: one sequential stream leaves bandwidth unused.
double read_gb_s(int threads) {
  constexpr size_t kBytes = size_t{512} << 20;
  void* raw = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  madvise(raw, kBytes, MADV_HUGEPAGE);
  auto* data = static_cast<float*>(raw);
  std::fill(data, data + kBytes / 4, 1.0f);
  double best = 0;
  for (int repeat = 0; repeat < 8; ++repeat) {
    const double s = seconds(
        [&](int t) {
          const size_t part = kBytes / 4 / static_cast<size_t>(threads), stream = part / 4 / 64 * 64;
          const float* p = data + part * static_cast<size_t>(t);
          __m256 sum[8] = {};
          for (size_t i = 0; i < stream; i += 16)
            for (size_t k = 0; k < 4; ++k) {
              sum[2 * k] = _mm256_add_ps(sum[2 * k], _mm256_loadu_ps(p + k * stream + i));
              sum[2 * k + 1] = _mm256_add_ps(sum[2 * k + 1], _mm256_loadu_ps(p + k * stream + i + 8));
            }
          for (int k = 1; k < 8; ++k) sum[0] = _mm256_add_ps(sum[0], sum[k]);
          sink = sum[0][0];
        },
        threads);
    best = std::max(best, static_cast<double>(kBytes) / s / 1e9);
  }
  munmap(raw, kBytes);
  return best;
}

double fma_gflop_s(int threads) {
  constexpr long kSteps = 20'000'000;
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double s = seconds(
        [&](int) {
          Vector a[12];
          for (int i = 0; i < 12; ++i) a[i] = zero();
          const Vector b = zero();
          for (long step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
            for (int i = 0; i < 12; ++i) a[i] = fma(b, b, a[i]);
            asm volatile("" ::"x"(a[0]), "x"(a[5]), "x"(a[11]));
          }
          for (int i = 1; i < 12; ++i) a[0] = fma(a[0], b, a[i]);
          sink = a[0][0];
        },
        threads);
    best = std::max(best, static_cast<double>(kSteps) * 12 * kLanes * 2 * threads / s / 1e9);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 2;
  std::printf("{\"threads\": %d, \"read_gb_s\": %.2f, \"fma_gflop_s\": %.1f}\n", threads, read_gb_s(threads), fma_gflop_s(threads));
}
