// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/smoothing.h"

#include <algorithm>
#include <cmath>

namespace quern {

std::vector<float> smoothing_scales(const WorkingLayer& layer,
                                    const StatisticsObserver& seen,
                                    const FoldedPair& pair,
                                    double strength) {
  constexpr double kLeast = 1e-5, kMost = 1e5;
  const auto outputs = static_cast<size_t>(pair.outputs);
  std::vector<float> x(outputs, 0.0f), w(outputs, 0.0f), out(outputs, 1.0f);
  const std::vector<float>& maxima = seen.of(pair.seen_as()).maxima;
  for (size_t k = 0; k < pair.of_output.size(); ++k) {
    float& most = x[static_cast<size_t>(pair.of_output[k])];
    most = std::max(most, maxima[k]);
  }
  for (const std::string& name : pair.consumers) {
    const Tensor weights = layer.at(name + ".weight");
    const int64_t cols = weights.dim(1);
    for (int64_t n = 0; n < weights.dim(0); ++n)
      for (int64_t k = 0; k < cols; ++k) {
        float& most = w[static_cast<size_t>(pair.of_output[static_cast<size_t>(k)])];
        most = std::max(most, std::abs(weights.data<float>()[n * cols + k]));
      }
  }
  for (size_t p = 0; p < outputs; ++p)
    if (x[p] > 0 && w[p] > 0)
      out[p] = static_cast<float>(
          std::clamp(std::pow(x[p], strength) / std::pow(w[p], 1 - strength), kLeast, kMost));
  return out;
}

}  // namespace quern
