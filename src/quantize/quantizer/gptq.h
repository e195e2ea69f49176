// SPDX-License-Identifier: Apache-2.0
// GPTQ: weights are rounded one input after the other, and what each rounding did to the layer's
// output is made up for by the inputs that are yet to come. Frantar et al. 2023, "GPTQ: Accurate
// Post-Training Quantization for Generative Pre-trained Transformers".
#pragma once

#include "quantize/quantizer/input_statistics.h"
#include "quantize/quantizer/rounding.h"
#include "quantize/quantizer/scheme.h"

namespace quern {

// What one input's statistics give to all layers that read it.
struct GptqInput {
  std::vector<int32_t> order;   // inputs as they are rounded; empty: as they lie
  std::vector<float> diagonal;  // of the gram matrix, as inputs lie
  Tensor factor;                // inverse_factor() in that order; undefined: not to be had
  double damping = 0;           // that was needed
};
GptqInput prepare_gptq(ThreadPool& pool, const InputStatistics& statistics, const Scheme& scheme);

// weights [N, K]. A group's range is chosen when its first input is rounded, from what its weights
// have become by then; with act-order, before all, from the weights as they are. Rows do not depend
// on each other: the same bits for any number of threads. Without a factor: round_to_nearest.
IntLayer round_by_gptq(ThreadPool& pool,
                       const Tensor& weights,
                       const GptqInput& input,
                       const IntGrid& grid,
                       bool searches);
// To e4m3, whose scales stay those of the weights as they are.
RoundedLayer round_by_gptq(ThreadPool& pool,
                           const Tensor& weights,
                           const GptqInput& input,
                           E4m3Matrix out,
                           const std::string& name);

}  // namespace quern
