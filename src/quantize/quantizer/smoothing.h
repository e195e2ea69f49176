// SPDX-License-Identifier: Apache-2.0
// SmoothQuant: channels whose inputs are large are made smaller, and their weights larger, so that
// both round to 8 bits well. Xiao et al. 2022, "SmoothQuant: Accurate and Efficient Post-Training
// Quantization for Large Language Models".
#pragma once

#include <vector>

#include "quantize/quantizer/folding.h"

namespace quern {

// s = max|x|^strength / max|w|^(1 - strength) for each output of the pair's producer, over all
// inputs that read it and all weights that they meet; 1 where either is zero.
std::vector<float> smoothing_scales(const WorkingLayer& layer,
                                    const StatisticsObserver& seen,
                                    const FoldedPair& pair,
                                    double strength);

}  // namespace quern
