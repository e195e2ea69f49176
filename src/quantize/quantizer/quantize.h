// SPDX-License-Identifier: Apache-2.0
// Quantize: a checkpoint of floats (or of other codes) becomes one of few bits, layer by layer, in
// memory bounded by one layer, and in the files of other engines.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "nn/owned_ctx.h"
#include "quantize/quantizer/calibration_sequence.h"
#include "quantize/quantizer/scheme.h"
#include "quantize/quantizer/source_padding.h"

namespace quern {

struct QuantizeProgress {
  int64_t done = 0, all = 0;  // units: what lies outside of the layers, then each layer
  double seconds_left = 0;    // by those of this run; 0: unknown
};

struct QuantizeRequest {
  std::string model, out;  // a folder or a GGUF file; a folder that must not exist
  Scheme scheme;
  std::vector<std::string> ignored;  // see SourceModel
  PaddingChoice padding;             // of the gated MLPs, before they are quantized
  // What the model is run on, where the scheme needs it.
  std::vector<CalibrationSequence> calibration;
  int64_t max_memory = 0;  // bytes; 0: no bound
  OwnedCtx::Options machine;
  std::string tool = "quern";
  std::function<void(const QuantizeProgress&)> progress;
  // Called when the folder is whole, but not yet OUT: may add files to it, and to the report. What
  // it writes must follow from what is there. May be empty.
  std::function<void(const std::string& folder, Json& report)> before_publishing;
};

// Writes OUT, which appears when all of it is there and reads back as what was decided: every
// quantized layer, decoded by the loader, has bit for bit the values that the rounding chose. An
// interrupted run is gone on with, and ends in the same bits. Returns what quern-quantize.json
// says. Throws invalid_argument where OUT exists, exhausted for a full disk or too little
// max_memory, data_loss for a weight that is no number, unsupported for a layer that the scheme
// cannot hold.
Json quantize(const QuantizeRequest& request);

}  // namespace quern
