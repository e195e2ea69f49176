// SPDX-License-Identifier: Apache-2.0
// The rounder of schemes that look at what a layer's inputs are like.
#pragma once

#include "quantize/quantizer/layer_rounder.h"

namespace quern {

// Layer by layer: the calibration texts run through the layer as it was, with what the layers
// before it, already quantized, make of them; its codes are chosen; then they run through it as it
// was written. Memory: one layer in float32, the inputs' gram matrices, and the hidden states of
// all texts.
std::unique_ptr<LayerRounder> make_calibrated_rounder(const QuantizeRequest& request,
                                                      const SourceModel& source);

}  // namespace quern
