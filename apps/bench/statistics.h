// SPDX-License-Identifier: Apache-2.0
// What a bench says of many measured values, and the arrival times of an open-loop load.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace quern::bench {

// The value below which `percent` of 100 of the values lie, between neighbours by straight line (as
// numpy does). `sorted` ascends and is not empty.
double percentile(const std::vector<double>& sorted, double percent);

struct Summary {
  double mean = 0, median = 0, std = 0;  // std: of the population
  double p50 = 0, p90 = 0, p99 = 0;
};
// All zero for no values.
Summary summarize(std::vector<double> values);

// Seconds from the start at which requests arrive: a Poisson process of `rate` requests per second,
// the same for the same seed on every machine. An infinite rate: all at 0.
std::vector<double> poisson_arrivals(double rate, int count, uint64_t seed);

// A length between (1 - ratio) and (1 + ratio) times `length`, at least 1.
int64_t length_near(int64_t length, double ratio, std::mt19937_64& random);

}  // namespace quern::bench
