// SPDX-License-Identifier: Apache-2.0
// How far a transfer is, in words: share, rate, time left.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

namespace quern {

std::string human_bytes(int64_t bytes);     // "12 B", "93.1 MB", "4.97 GB"
std::string human_seconds(double seconds);  // "8 s", "3 min 52 s", "2 h 05 min"

// The rate over the last seconds: a transfer that was fast an hour ago says nothing of the rest.
class RateMeter {
 public:
  void add(int64_t now_us, int64_t total_bytes);
  double bytes_per_s() const;  // 0: not known yet

 private:
  struct Point {
    int64_t at_us, bytes;
  };
  std::deque<Point> points_;
};

struct Progress {
  int64_t done_bytes = 0, total_bytes = 0;
  double bytes_per_s = 0;
};

// "[======      ]  48%  2.38 of 4.97 GB  98.1 MB/s  26 s left", at most `columns` wide.
std::string progress_line(const Progress& progress, int columns);

}  // namespace quern
