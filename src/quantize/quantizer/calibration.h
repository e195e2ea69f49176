// SPDX-License-Identifier: Apache-2.0
// Calibration: the hidden states of a set of texts, with pictures or without, flowing through one
// decoder layer at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "nn/batch.h"
#include "nn/linear.h"
#include "nn/model.h"
#include "quantize/quantizer/calibration_sequence.h"
#include "weights/checkpoint.h"

namespace quern {

class CalibrationStream {
 public:
  // `layers` of the model. Both arguments must outlive it.
  CalibrationStream(Ctx& ctx, const std::vector<CalibrationSequence>& sequences, int layers);

  // The layer whose input the states are.
  int layer() const { return layer_; }
  // Runs that layer by `checkpoint`: everything that its linear layers read goes to `observer`, and
  // what it shows besides to `probe`.
  void observe(const std::shared_ptr<const Checkpoint>& checkpoint,
               LinearObserver& observer,
               Probe* probe = nullptr);
  // Runs it, and steps behind it.
  void advance(const std::shared_ptr<const Checkpoint>& checkpoint);
  // [T, D] of each sequence, before that layer; empty before the first.
  const std::vector<std::vector<float>>& states() const { return states_; }
  // Sequences are run one by one, or together as long as they have at most so many tokens: where
  // experts are read as they are chosen, each is then read less often.
  void set_step_tokens(int64_t tokens) { step_tokens_ = tokens; }
  // Bytes of the states.
  static int64_t bytes(const std::vector<CalibrationSequence>& sequences, int64_t hidden);

 private:
  class Tape;
  struct Eyes {
    LinearObserver* observer = nullptr;
    Probe* probe = nullptr;
  };
  void run(const std::shared_ptr<const Checkpoint>& checkpoint, const Eyes& eyes, bool keeps);
  // The end of the sequences that are run together with the one at `begin`.
  size_t step_end(size_t begin) const;

  Ctx ctx_;
  const std::vector<CalibrationSequence>& sequences_;
  int layers_, layer_ = 0;
  int64_t step_tokens_ = 0;
  std::vector<std::vector<float>> states_;  // [T, D] of each sequence; empty before layer 0
};

}  // namespace quern
