// SPDX-License-Identifier: Apache-2.0
#include "comm/net_probe.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

constexpr int kTrips = 101;
constexpr int64_t kLeast = int64_t{1} << 20, kMost = int64_t{1} << 30;  // bytes of one stream
constexpr double kSeconds = 0.5;                                        // that a stream is to take
constexpr size_t kPiece = size_t{1} << 20;

// Words of the asking end: one byte, of `stream` with the count of bytes that follow.
constexpr char kPing = 'p', kStream = 's', kEnd = 'e';

double now_s() {
  return static_cast<double>(MonotonicClock().now_us()) * 1e-6;
}

double round_trip(const Socket& socket, int64_t deadline_us) {
  std::vector<double> trips;
  for (int i = 0; i < kTrips; ++i) {
    const double begin = now_s();
    char echo = 0;
    socket.write_all({&kPing, 1}, deadline_us);
    socket.read_all(&echo, 1, deadline_us);
    trips.push_back(now_s() - begin);
  }
  std::ranges::nth_element(trips, trips.begin() + kTrips / 2);
  return std::max(trips[kTrips / 2], 1e-6);  // the clock's step
}

double stream_seconds(const Socket& socket, int64_t bytes, int64_t deadline_us) {
  std::string head(1, kStream);
  head.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
  const std::string piece(kPiece, 'x');
  const double begin = now_s();
  socket.write_all(head, deadline_us);
  for (int64_t left = bytes; left > 0; left -= static_cast<int64_t>(kPiece))
    socket.write_all(
        std::string_view(piece).substr(0, static_cast<size_t>(std::min<int64_t>(left, kPiece))),
        deadline_us);
  char echo = 0;
  socket.read_all(&echo, 1, deadline_us);
  return std::max(now_s() - begin, 1e-6);
}

}  // namespace

LinkSpeed measure_link(const Socket& socket, int64_t deadline_us) {
  LinkSpeed out;
  out.round_trip_s = round_trip(socket, deadline_us);
  int64_t bytes = kLeast;
  double seconds = stream_seconds(socket, bytes, deadline_us);
  // Twice, for a connection begins slowly.
  for (int i = 0; i < 2 && seconds < kSeconds / 2; ++i) {
    const double wanted = static_cast<double>(bytes) * kSeconds / seconds;
    bytes = static_cast<int64_t>(std::min(wanted, static_cast<double>(kMost)));
    seconds = stream_seconds(socket, bytes, deadline_us);
  }
  out.bytes_per_s = static_cast<double>(bytes) / seconds;
  socket.write_all({&kEnd, 1}, deadline_us);
  return out;
}

void answer_probe(const Socket& socket, int64_t deadline_us) {
  std::string piece(kPiece, '\0');
  for (char word = 0;;) {
    socket.read_all(&word, 1, deadline_us);
    if (word == kEnd) return;
    if (word == kStream) {
      int64_t bytes = 0;
      socket.read_all(reinterpret_cast<char*>(&bytes), sizeof bytes, deadline_us);
      if (bytes < 0 || bytes > kMost)
        fail(ErrorCode::data_loss, "a probe announces {} bytes", bytes);
      for (; bytes > 0; bytes -= std::min<int64_t>(bytes, kPiece))
        socket.read_all(
            piece.data(), static_cast<size_t>(std::min<int64_t>(bytes, kPiece)), deadline_us);
    } else if (word != kPing) {
      fail(ErrorCode::data_loss, "a probe says {:#x}", static_cast<unsigned char>(word));
    }
    socket.write_all({&word, 1}, deadline_us);
  }
}

}  // namespace quern
