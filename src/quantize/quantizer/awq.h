// SPDX-License-Identifier: Apache-2.0
// AWQ: inputs that carry much are given finer steps, by a scale that moves into the layer before
// (folding.h). Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and
// Acceleration".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "quantize/quantizer/folding.h"
#include "quantize/quantizer/rounding.h"

namespace quern {

class AwqSearch {
 public:
  // All arguments must outlive it.
  AwqSearch(Ctx& ctx,
            const IntGrid& grid,
            const WorkingLayer& layer,
            const StatisticsObserver& seen)
      : ctx_(ctx), grid_(grid), layer_(layer), seen_(seen) {}

  // The scales of a pair's outputs that make the least of rounding its consumers' weights.
  std::vector<float> operator()(const FoldedPair& pair);

  // The exponent that was chosen for the inputs of a layer; negative: with the weights' own.
  const std::map<std::string, double>& ratios() const { return ratios_; }

 private:
  struct Shares;
  struct Inputs;
  struct Candidate {
    double loss = 0, ratio = 0;
    std::vector<float> scales;  // of the producer's outputs
  };
  void read_inputs(const std::string& name, Inputs& of) const;
  Shares shares_of(const FoldedPair& pair) const;
  double add_shares(const Tensor& weights, const FoldedPair& pair, std::vector<double>& w) const;
  static std::vector<float> candidate(const FoldedPair& pair,
                                      const Shares& shares,
                                      double ratio,
                                      bool is_duo);
  void judge(const FoldedPair& pair, std::vector<Candidate>& found, bool by_gram);

  Ctx& ctx_;
  const IntGrid grid_;
  const WorkingLayer& layer_;
  const StatisticsObserver& seen_;
  std::map<std::string, double> ratios_;
};

}  // namespace quern
