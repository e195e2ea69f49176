// SPDX-License-Identifier: Apache-2.0
#include "bench/kernel_plot.h"

#include <algorithm>

namespace quern::bench {

void add_to(KernelMeasure& sum, const KernelMeasure& product, double count) {
  if (sum.rows == 0) {
    sum = product;
    sum.shape = "all";
    sum.seconds = sum.bytes = sum.packed_bytes = sum.ops = 0;
  } else if (sum.kernel.find(product.kernel) == std::string::npos) {
    sum.kernel += "," + product.kernel;
  }
  sum.seconds += count * product.seconds;
  sum.bytes += count * product.bytes;
  sum.packed_bytes += count * product.packed_bytes;
  sum.ops += count * product.ops;
}

double peak_of(const Roofs& roofs, const std::string& activation) {
  if (activation == "int8") return roofs.int8_gop_s;
  return activation == "bf16" ? std::max(roofs.bf16_gop_s, roofs.f32_gop_s) : roofs.f32_gop_s;
}

double share(double value, double roof) {
  return roof > 0 ? value / roof : 0;
}

Plot roofline(const Roofs& roofs, const std::vector<KernelMeasure>& sums) {
  Plot plot{.title = "roofline",
            .x_label = "operations per byte of the checkpoint",
            .y_label = "GOP/s",
            .is_log = true,
            .series = {}};
  double least = 1e30, most = 0;
  for (const KernelMeasure& m : sums) {
    least = std::min(least, m.ops / m.bytes);
    most = std::max(most, m.ops / m.bytes);
  }
  const auto add_roof = [&](const char* name, double peak) {
    if (peak <= 0 || most <= 0) return;
    const double knee = peak / roofs.read_gb_s;
    Series roof{.name = name, .points = {}};
    if (knee > least) roof.points.emplace_back(least, least * roofs.read_gb_s);
    roof.points.emplace_back(std::max(knee, least), peak);
    if (most > knee) roof.points.emplace_back(most, peak);
    plot.series.push_back(std::move(roof));
  };
  add_roof("int8 roof", roofs.int8_gop_s);
  add_roof("bf16 roof", roofs.bf16_gop_s);
  add_roof("float32 roof", roofs.f32_gop_s);
  for (const KernelMeasure& m : sums) {
    const std::string name = m.type + ", " + m.activation + " inputs";
    if (plot.series.empty() || plot.series.back().name != name)
      plot.series.push_back({.name = name, .points = {}, .is_line = false});
    plot.series.back().points.emplace_back(m.ops / m.bytes, m.ops / m.seconds * 1e-9);
  }
  return plot;
}

}  // namespace quern::bench
