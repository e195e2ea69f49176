// SPDX-License-Identifier: Apache-2.0
// Measured products, summed over a model's step, under the roofs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/plot.h"
#include "bench/roofs.h"

namespace quern::bench {

struct KernelMeasure {
  std::string type, activation, shape, kernel;
  int64_t n = 0, k = 0;
  int rows = 0;
  double seconds = 0;
  double bytes = 0, packed_bytes = 0;  // as a checkpoint stores the weight; as the kernel reads it
  double ops = 0;
};

// Adds `count` products to a sum that keeps the names of its first.
void add_to(KernelMeasure& sum, const KernelMeasure& product, double count);

// The peak that products with these inputs ("float32", "bf16", "int8") could reach on this tier.
double peak_of(const Roofs& roofs, const std::string& activation);
// value / roof; 0 where there is no such roof.
double share(double value, double roof);

// Operations per second over operations per byte of the checkpoint.
Plot roofline(const Roofs& roofs, const std::vector<KernelMeasure>& sums);

}  // namespace quern::bench
