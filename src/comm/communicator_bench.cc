// SPDX-License-Identifier: Apache-2.0
// What a sum over two ranks takes, beside copying as many bytes once: 8 KiB is what decoding sends
// for each layer and token, 4 MiB what prefill does.
#include <benchmark/benchmark.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "comm/shm_communicator.h"
#include "comm/tcp_communicator.h"

namespace quern {
namespace {

constexpr int kRanks = 2, kTimeoutMs = 60'000;

std::array<std::unique_ptr<Communicator>, kRanks> ranks;

void open_shm(const benchmark::State&) {
  static const int fd = make_shm_region(kRanks);
  for (int rank = 0; rank < kRanks; ++rank)
    ranks[static_cast<size_t>(rank)] = open_shm_communicator(fd, rank, kRanks, kTimeoutMs);
}

void open_tcp(const benchmark::State&) {
  TcpListener listener({"127.0.0.1", 0});
  std::vector<Socket> first(kRanks), second(kRanks);
  second[0] = connect_to(listener.address(), kTimeoutMs);
  first[1] = listener.accept(kTimeoutMs);
  ranks[0] = make_tcp_communicator(std::move(first), 0, kTimeoutMs);
  ranks[1] = make_tcp_communicator(std::move(second), 1, kTimeoutMs);
}

void all_reduce(benchmark::State& state) {
  Communicator& self = *ranks[static_cast<size_t>(state.thread_index())];
  std::vector<float> values(static_cast<size_t>(state.range(0)) / sizeof(float), 0.F);
  for (auto _ : state) self.all_reduce_sum(values);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void copy(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  std::vector<char> from(bytes, 1), to(bytes);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), bytes);
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

constexpr int64_t kDecode = 8 << 10, kPrefill = 4 << 20;

BENCHMARK(all_reduce)
    ->Name("shm")
    ->Setup(open_shm)
    ->Arg(kDecode)
    ->Arg(kPrefill)
    ->Threads(kRanks)
    ->UseRealTime();
BENCHMARK(all_reduce)
    ->Name("tcp")
    ->Setup(open_tcp)
    ->Arg(kDecode)
    ->Arg(kPrefill)
    ->Threads(kRanks)
    ->UseRealTime();
BENCHMARK(copy)->Name("memcpy")->Arg(kDecode)->Arg(kPrefill);

}  // namespace
}  // namespace quern
