// SPDX-License-Identifier: Apache-2.0
#include "hub/progress.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "base/format.h"

namespace quern {
namespace {

constexpr int64_t kWindowUs = 10'000'000;
constexpr int64_t kStepUs = 100'000;

std::string bar(double share, int width) {
  const int filled = static_cast<int>(std::floor(share * width));
  return format("[{}{}]",
                std::string(static_cast<size_t>(filled), '='),
                std::string(static_cast<size_t>(width - filled), ' '));
}

}  // namespace

std::string human_bytes(int64_t bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < kUnits.size()) value /= 1000, ++unit;
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return format("{:.{}f} {}", value, digits, kUnits[unit]);
}

std::string human_seconds(double seconds) {
  const auto s = static_cast<int64_t>(std::ceil(std::clamp(seconds, 0.0, 1e9)));
  if (s < 60) return format("{} s", s);
  if (s < 3600) return format("{} min {:02} s", s / 60, s % 60);
  return format("{} h {:02} min", s / 3600, s % 3600 / 60);
}

void RateMeter::add(int64_t now_us, int64_t total_bytes) {
  // Points closer than a tenth of a second would only make the window longer to keep.
  if (points_.size() >= 2 && now_us - points_[points_.size() - 2].at_us < kStepUs)
    points_.pop_back();
  points_.push_back({now_us, total_bytes});
  while (points_.size() > 2 && now_us - points_[1].at_us >= kWindowUs) points_.pop_front();
}

double RateMeter::bytes_per_s() const {
  if (points_.size() < 2) return 0;
  const int64_t us = points_.back().at_us - points_.front().at_us;
  const int64_t bytes = points_.back().bytes - points_.front().bytes;
  return us <= 0 || bytes <= 0 ? 0 : static_cast<double>(bytes) * 1e6 / static_cast<double>(us);
}

std::string progress_line(const Progress& p, int columns) {
  constexpr int kBarWidth = 24;
  const double share =
      p.total_bytes > 0
          ? std::clamp(
                static_cast<double>(p.done_bytes) / static_cast<double>(p.total_bytes), 0.0, 1.0)
          : 1.0;
  std::string line = format("{:3.0f}%  {} of {}",
                            std::floor(share * 100),
                            human_bytes(p.done_bytes),
                            human_bytes(p.total_bytes));
  if (p.bytes_per_s > 0)
    line +=
        format("  {}/s  {} left",
               human_bytes(static_cast<int64_t>(p.bytes_per_s)),
               human_seconds(static_cast<double>(p.total_bytes - p.done_bytes) / p.bytes_per_s));
  const int room = columns - static_cast<int>(line.size()) - 3;
  if (room >= 8) line = bar(share, std::min(room, kBarWidth)) + " " + line;
  return line.substr(0, static_cast<size_t>(std::max(columns, 0)));
}

}  // namespace quern
