// SPDX-License-Identifier: Apache-2.0
#include "comm/tcp_communicator.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/clock.h"
#include "base/error.h"

// Small sums: everyone sends its values to everyone and adds up by itself, one hop. Large ones:
// rank r adds up the r-th part of all and sends it round, so that a link carries each value twice
// however many ranks there are. Both add from rank 0 to the last. Sending and receiving go on side
// by side, so that no order of ranks can block.

namespace quern {
namespace {

constexpr size_t kOneHop = 16 << 10;  // floats times ranks

struct Transfer {
  int peer = 0;
  char* bytes = nullptr;  // only read from, where it is sent
  size_t left = 0;
};

Transfer to_send(int peer, std::span<const float> values) {
  return {
      peer, const_cast<char*>(reinterpret_cast<const char*>(values.data())), values.size_bytes()};
}

Transfer to_receive(int peer, std::span<float> values) {
  return {peer, reinterpret_cast<char*>(values.data()), values.size_bytes()};
}

class TcpCommunicator final : public Communicator {
 public:
  TcpCommunicator(std::vector<Socket> peers, int rank, int timeout_ms)
      : peers_(std::move(peers)), rank_(rank), timeout_ms_(timeout_ms) {}

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(peers_.size()); }

  void all_reduce_sum(std::span<float> values) override {
    reduce(values, [](float a, float b) { return a + b; });
  }
  void all_reduce_max(std::span<float> values) override {
    reduce(values, [](float a, float b) { return a > b ? a : b; });
  }

  void gather(std::span<const float> own,
              std::span<const int64_t> counts,
              std::span<float> all) override {
    if (rank_ != 0) return exchange({to_send(0, own)}, {});
    std::vector<Transfer> in;
    size_t at = 0;
    for (int r = 0; r < size(); ++r) {
      const std::span<float> part = all.subspan(at, static_cast<size_t>(counts[as_index(r)]));
      at += part.size();
      if (r == 0)
        std::copy(own.begin(), own.end(), part.begin());
      else
        in.push_back(to_receive(r, part));
    }
    exchange({}, std::move(in));
  }

  void send(int to, std::span<const float> values) override { exchange({to_send(to, values)}, {}); }
  void receive(int from, std::span<float> values) override {
    exchange({}, {to_receive(from, values)});
  }
  void barrier() override {
    float word = 0;
    all_reduce_max(std::span(&word, 1));
  }

 private:
  static size_t as_index(int rank) { return static_cast<size_t>(rank); }

  template <typename Combine>
  void reduce(std::span<float> values, Combine combine) {
    if (values.empty() || size() == 1) return;
    if (values.size() * peers_.size() <= kOneHop || size() == 2) return reduce_all(values, combine);
    const auto part_of = [&](int r) {
      const size_t begin = values.size() * as_index(r) / peers_.size();
      return values.subspan(begin, values.size() * (as_index(r) + 1) / peers_.size() - begin);
    };
    const std::span<float> own = part_of(rank_);
    others_.resize(own.size() * peers_.size());
    std::vector<Transfer> out, in, spread, collected;
    for (int r = 0; r < size(); ++r) {
      if (r == rank_) continue;
      out.push_back(to_send(r, part_of(r)));
      in.push_back(to_receive(r, part_from(r, own.size())));
      spread.push_back(to_send(r, own));
      collected.push_back(to_receive(r, part_of(r)));
    }
    exchange(std::move(out), std::move(in));
    add_up(own, combine);
    exchange(std::move(spread), std::move(collected));
  }

  template <typename Combine>
  void reduce_all(std::span<float> values, Combine combine) {
    others_.resize(values.size() * peers_.size());
    std::vector<Transfer> out, in;
    for (int r = 0; r < size(); ++r) {
      if (r == rank_) continue;
      out.push_back(to_send(r, values));
      in.push_back(to_receive(r, part_from(r, values.size())));
    }
    exchange(std::move(out), std::move(in));
    add_up(values, combine);
  }

  std::span<float> part_from(int rank, size_t count) {
    return std::span(others_).subspan(count * as_index(rank), count);
  }

  template <typename Combine>
  void add_up(std::span<float> own, Combine combine) {
    const size_t count = own.size();
    const std::span<float> mine = part_from(rank_, count);
    std::copy(own.begin(), own.end(), mine.begin());
    std::copy_n(others_.begin(), count, own.begin());
    for (int r = 1; r < size(); ++r) {
      const float* in = part_from(r, count).data();
      for (size_t i = 0; i < count; ++i) own[i] = combine(own[i], in[i]);
    }
  }

  // What can be moved now; true if something is left.
  bool advance(Transfer& t, bool sends) {
    while (t.left > 0) {
      const int fd = peers_[as_index(t.peer)].fd();
      const ssize_t n = sends ? ::send(fd, t.bytes, t.left, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : recv(fd, t.bytes, t.left, MSG_DONTWAIT);
      if (n > 0) {
        t.bytes += n;
        t.left -= static_cast<size_t>(n);
      } else if (n == 0) {
        fail(ErrorCode::unavailable, "rank {} closed the connection", t.peer);
      } else if (errno == EAGAIN) {
        return true;
      } else if (errno != EINTR) {
        fail(ErrorCode::unavailable,
             "the connection to rank {} broke: {}",
             t.peer,
             std::strerror(errno));
      }
    }
    return false;
  }

  void exchange(std::vector<Transfer> out, std::vector<Transfer> in) {
    const MonotonicClock clock;
    int64_t deadline_us = clock.now_us() + int64_t{timeout_ms_} * 1'000;
    for (;;) {
      std::erase_if(out, [&](Transfer& t) { return !advance(t, true); });
      std::erase_if(in, [&](Transfer& t) { return !advance(t, false); });
      if (out.empty() && in.empty()) return;
      const int64_t left_ms = (deadline_us - clock.now_us()) / 1'000;
      std::vector<pollfd> ready;
      for (const Transfer& t : out) ready.push_back({peers_[as_index(t.peer)].fd(), POLLOUT, 0});
      for (const Transfer& t : in) ready.push_back({peers_[as_index(t.peer)].fd(), POLLIN, 0});
      const int count =
          poll(ready.data(), ready.size(), static_cast<int>(std::max<int64_t>(0, left_ms)));
      if (count == 0) give_up(out, in);
      if (count > 0) deadline_us = clock.now_us() + int64_t{timeout_ms_} * 1'000;
    }
  }

  [[noreturn]] void give_up(const std::vector<Transfer>& out,
                            const std::vector<Transfer>& in) const {
    std::string names;
    for (const auto* transfers : {&out, &in})
      for (const Transfer& t : *transfers)
        if (const std::string name = format("rank {}", t.peer); names.find(name) == names.npos)
          names += (names.empty() ? "" : ", ") + name;
    fail(ErrorCode::unavailable, "{} did not come within {:.1f} s", names, timeout_ms_ * 1e-3);
  }

  std::vector<Socket> peers_;
  const int rank_, timeout_ms_;
  std::vector<float> others_;
};

}  // namespace

std::unique_ptr<Communicator> make_tcp_communicator(std::vector<Socket> peers,
                                                    int rank,
                                                    int timeout_ms) {
  return std::make_unique<TcpCommunicator>(std::move(peers), rank, timeout_ms);
}

}  // namespace quern
