// SPDX-License-Identifier: Apache-2.0
// SpeakerEncoder: what a voice is, as one vector (CAM++).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/glm_tts/campplus_weights.h"
#include "nn/model.h"

namespace quern {

class SpeakerEncoder {
 public:
  // Packs the weights for ctx, in float32 whatever its activation. Throws data_loss for sizes that
  // do not fit together.
  SpeakerEncoder(const Ctx& ctx, const CampplusWeights& weights);
  ~SpeakerEncoder();

  int64_t size() const;   // of the vector, 192
  int64_t bands() const;  // of a frame, 80

  // The mean-free filter bank of a recording, [frames, bands()] -> [size()]. Throws
  // invalid_argument for less than three frames, data_loss where no numbers come out. `probe` sees
  // "head", "tdnn", "block" and "transit" under the block's number from 1 on, "out_nonlinear"
  // [steps, channels], "stats" [1, 2 channels].
  std::vector<float> operator()(Ctx& ctx,
                                std::span<const float> fbank,
                                Probe* probe = nullptr) const;

 private:
  class Network;
  std::unique_ptr<const Network> network_;
};

}  // namespace quern
