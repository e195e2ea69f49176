// SPDX-License-Identifier: Apache-2.0
// The cheapest row of readings, by dynamic programming from left to right.
#include "text/spoken/readings.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace quern::spoken {

namespace {

// A sum as float32 holds it; beyond 4096 as finely as just below, so that long texts lose no more.
double rounded(double sum) {
  constexpr double kFinest = 4096;
  return sum < kFinest ? static_cast<float>(sum) : std::round(sum * kFinest) / kFinest;
}

}  // namespace

std::vector<Stretch> read_cheapest(std::u32string_view text, const AddReadings& add_readings) {
  constexpr double kUnreached = std::numeric_limits<double>::infinity();
  // The best way to each place: its cost and its last stretch.
  struct Place {
    double cost = kUnreached;
    Stretch last;
  };
  std::vector<Place> places(text.size() + 1);
  places[0].cost = 0;
  Readings readings;
  for (size_t at = 0; at < text.size(); ++at) {
    if (places[at].cost == kUnreached) continue;
    readings.clear();
    add_readings(at, readings);
    for (Reading& reading : readings) {
      Place& place = places[reading.end];
      const double rule = rounded(places[at].cost + static_cast<double>(reading.cost.rule));
      const double cost = rounded(rule + static_cast<double>(reading.cost.detail));
      if (cost >= place.cost) continue;
      const bool is_detail_lost = cost == rule && reading.cost.detail != 0;
      place = {cost, {at, reading.end, reading.kind, std::move(reading.spoken), is_detail_lost}};
    }
  }
  std::vector<Stretch> row;
  for (size_t at = text.size(); at > 0; at = row.back().begin)
    row.push_back(std::move(places[at].last));
  std::reverse(row.begin(), row.end());
  return row;
}

}  // namespace quern::spoken
