// SPDX-License-Identifier: Apache-2.0
// AWQ: inputs that carry much are given finer steps, by a scale that moves into the layer before.
// Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and
// Acceleration".
//
//   norm -> q, k, v     v -> o     norm -> gate, up     up -> down
//
// A consumer's columns are multiplied by s, its producer's outputs divided: nothing changes before
// rounding. What a norm or bias stores is rounded; s is then taken from what it became, so that the
// product stays exact. v has fewer outputs than o has inputs where heads share keys and values: all
// inputs that read one output of v share its s.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "quantize/quantizer/calibration.h"
#include "quantize/quantizer/rounding.h"

namespace quern {

class AwqFolding {
 public:
  // All arguments must outlive it; the layer's weights and the statistics are changed.
  AwqFolding(Ctx& ctx, const IntGrid& grid, WorkingLayer& layer, StatisticsObserver& seen)
      : ctx_(ctx), grid_(grid), layer_(layer), seen_(seen) {}

  // Searches and folds the scales of a decoder layer ("model.layers.3."). A pair is left alone
  // where one of its linear layers is not among `quantized`. `stored`: the type in which a norm or
  // bias is written.
  void fold_layer(const std::string& prefix,
                  const std::set<std::string>& quantized,
                  const std::function<Stored(const std::string&)>& stored);

  // Norms and biases that changed, as they are to be written.
  std::vector<NamedTensor> take_changed() { return std::move(changed_); }
  // The exponent that was chosen for the inputs of a layer; negative: with the weights' own.
  const std::map<std::string, double>& ratios() const { return ratios_; }

 private:
  struct Pair;
  bool is_possible(const Pair& pair, const std::set<std::string>& quantized) const;
  std::vector<float> search(const Pair& pair);
  std::vector<float> candidate(const Pair& pair, double ratio, bool is_duo) const;
  void fold(const Pair& pair,
            std::vector<float> scales,
            const std::function<Stored(const std::string&)>& stored);

  Ctx& ctx_;
  const IntGrid grid_;
  WorkingLayer& layer_;
  StatisticsObserver& seen_;
  std::vector<NamedTensor> changed_;
  std::map<std::string, double> ratios_;
};

}  // namespace quern
