// SPDX-License-Identifier: Apache-2.0
#include "comm/shm_communicator.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <string>

#include "base/clock.h"
#include "base/error.h"

// Layout: a seat per rank (a counter of turns and two buffers), then a mailbox per ordered pair of
// ranks. In each turn a rank writes its part into its own seat, says so by its counter, and reads
// the others' as their counters arrive. Two buffers are enough: who publishes turn t has read all
// of turn t - 2. A rank spins for a moment and then sleeps on the counter it waits for.

namespace quern {
namespace {

constexpr int64_t kChunk = 64 << 10;      // floats of one rank in one turn
constexpr int64_t kMailChunk = 16 << 10;  // floats between two ranks
constexpr int kFewSpins = 200, kManySpins = 1'000;

struct alignas(64) Counter {
  std::atomic<uint32_t> value, sleepers;
};
struct alignas(64) Seat {
  Counter turn;  // turns that this rank has published
  float data[2][kChunk];
};
struct alignas(64) Mailbox {
  Counter sent, taken;
  float data[kMailChunk];
};

void raise(Counter& counter) {
  counter.value.fetch_add(1);
  if (counter.sleepers.load() != 0)
    syscall(SYS_futex, &counter.value, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

class ShmCommunicator final : public Communicator {
 public:
  ShmCommunicator(void* memory, int rank, int size, int timeout_ms, Patience patience)
      : seats_(static_cast<Seat*>(memory)),
        boxes_(reinterpret_cast<Mailbox*>(seats_ + size)),
        memory_(memory),
        rank_(rank),
        size_(size),
        timeout_us_(int64_t{timeout_ms} * 1000),
        spins_(patience == Patience::spins ? kManySpins : kFewSpins) {}
  ~ShmCommunicator() override { munmap(memory_, static_cast<size_t>(shm_region_bytes(size_))); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce_sum(std::span<float> values) override {
    reduce(values, [](float a, float b) { return a + b; });
  }
  void all_reduce_max(std::span<float> values) override {
    reduce(values, [](float a, float b) { return a > b ? a : b; });
  }

  void gather(std::span<const float> own,
              std::span<const int64_t> counts,
              std::span<float> all) override {
    int64_t most = 0;
    for (const int64_t count : counts) most = std::max(most, count);
    for (int64_t begin = 0; begin < most; begin += kChunk) {
      publish(own, begin);
      if (rank_ != 0) continue;
      int64_t at = 0;
      for (int r = 0; r < size_; ++r) {
        const int64_t count = std::min(kChunk, counts[static_cast<size_t>(r)] - begin);
        if (count > 0) {
          await_turn(r, turn_);
          std::copy_n(data_of(r), count, all.data() + at + begin);
        }
        at += counts[static_cast<size_t>(r)];
      }
    }
  }

  void send(int to, std::span<const float> values) override {
    Mailbox& box = boxes_[rank_ * size_ + to];
    for (size_t at = 0; at < values.size(); at += kMailChunk) {
      const size_t count = std::min<size_t>(kMailChunk, values.size() - at);
      await(box.taken, box.sent.value.load(), to);
      std::copy_n(values.data() + at, count, box.data);
      raise(box.sent);
    }
  }
  void receive(int from, std::span<float> values) override {
    Mailbox& box = boxes_[from * size_ + rank_];
    for (size_t at = 0; at < values.size(); at += kMailChunk) {
      const size_t count = std::min<size_t>(kMailChunk, values.size() - at);
      await(box.sent, box.taken.value.load() + 1, from);
      std::copy_n(box.data, count, values.data() + at);
      raise(box.taken);
    }
  }
  void barrier() override {
    publish({}, 0);
    for (int r = 0; r < size_; ++r) await_turn(r, turn_);
  }

 private:
  float* data_of(int rank) { return seats_[rank].data[turn_ % 2]; }

  // Each turn uses one of two buffers: a rank that publishes turn t has read all of turn t - 2.
  void publish(std::span<const float> own, int64_t begin) {
    for (int r = 0; r < size_; ++r) await_turn(r, turn_);
    ++turn_;
    const int64_t count = std::min(kChunk, static_cast<int64_t>(own.size()) - begin);
    if (count > 0) std::copy_n(own.data() + begin, count, data_of(rank_));
    raise(seats_[rank_].turn);
  }

  template <typename Combine>
  void reduce(std::span<float> values, Combine combine) {
    const auto length = static_cast<int64_t>(values.size());
    for (int64_t begin = 0; begin < length; begin += kChunk) {
      publish(values, begin);
      const int64_t count = std::min(kChunk, length - begin);
      float* out = values.data() + begin;
      for (int r = 0; r < size_; ++r) {
        await_turn(r, turn_);
        const float* in = data_of(r);
        if (r == 0)
          std::copy_n(in, count, out);
        else
          for (int64_t i = 0; i < count; ++i) out[i] = combine(out[i], in[i]);
      }
    }
  }

  void await_turn(int rank, uint32_t turn) { await(seats_[rank].turn, turn, rank); }

  void await(Counter& counter, uint32_t wanted, int other) {
    const auto is_there = [&](uint32_t value) { return static_cast<int32_t>(value - wanted) >= 0; };
    for (int i = 0; i < spins_; ++i) {
      if (is_there(counter.value.load(std::memory_order_acquire))) return;
      __builtin_ia32_pause();
    }
    const int64_t deadline_us = clock_.now_us() + timeout_us_;
    counter.sleepers.fetch_add(1);
    for (;;) {
      const uint32_t value = counter.value.load();
      if (is_there(value)) break;
      const int64_t left_us = deadline_us - clock_.now_us();
      if (left_us <= 0) {
        counter.sleepers.fetch_sub(1);
        fail(ErrorCode::unavailable,
             "rank {} did not come within {:.1f} s",
             other,
             static_cast<double>(timeout_us_) * 1e-6);
      }
      const timespec left{left_us / 1'000'000, left_us % 1'000'000 * 1'000};
      syscall(SYS_futex, &counter.value, FUTEX_WAIT, value, &left, nullptr, 0);
    }
    counter.sleepers.fetch_sub(1);
  }

  Seat* seats_;
  Mailbox* boxes_;
  void* memory_;
  const int rank_, size_;
  const int64_t timeout_us_;
  const int spins_;
  uint32_t turn_ = 0;
  MonotonicClock clock_;
};

}  // namespace

int64_t shm_region_bytes(int size) {
  return static_cast<int64_t>(sizeof(Seat)) * size +
         static_cast<int64_t>(sizeof(Mailbox)) * size * size;
}

int make_shm_region(int size) {
  const int fd = memfd_create("quern-ranks", MFD_CLOEXEC);
  if (fd < 0 || ftruncate(fd, shm_region_bytes(size)) != 0) {
    const std::string why = std::strerror(errno);
    if (fd >= 0) close(fd);
    fail(ErrorCode::unavailable, "shared memory for {} ranks: {}", size, why);
  }
  return fd;
}

std::unique_ptr<Communicator> open_shm_communicator(
    int fd, int rank, int size, int timeout_ms, Patience patience) {
  const auto bytes = static_cast<size_t>(shm_region_bytes(size));
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED)
    fail(ErrorCode::unavailable, "shared memory of {} ranks: {}", size, std::strerror(errno));
  return std::make_unique<ShmCommunicator>(memory, rank, size, timeout_ms, patience);
}

}  // namespace quern
