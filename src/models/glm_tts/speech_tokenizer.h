// SPDX-License-Identifier: Apache-2.0
// SpeechTokenizer: speech as numbers from a codebook, 25 a second: the front half of Whisper's
// encoder, pooled, each row replaced by the nearest code (WhisperVQ of GLM-4-Voice and GLM-TTS).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "media/audio/log_mel.h"
#include "nn/builder.h"
#include "nn/model.h"

namespace quern {

class SpeechTokenizer {
 public:
  // b stands at the root of the folder "speech_tokenizer"; `pieces` is what its
  // preprocessor_config.json says of features, and how long a piece is that is looked at as a whole
  // (30 seconds). Throws data_loss where files contradict each other, unsupported for variants that
  // no published model has (layers that are causal, pooling behind the codebook).
  SpeechTokenizer(const Builder& b, const MelShape& pieces);
  ~SpeechTokenizer();

  static constexpr int64_t kMostSeconds = 60;

  int64_t vocab() const;
  int64_t rate_hz() const;
  int64_t token_samples() const;  // that one token stands for, 640

  // Samples at rate_hz() -> ceil(samples of the piece / token_samples()) tokens of every piece, one
  // after the other. Throws invalid_argument for more than kMostSeconds; no samples make no tokens.
  // `probe` sees, of every piece and under its number, "input_features" [frames, bands], "conv2"
  // [rows, D], "pooled" [tokens, D], and "gaps" [tokens]: by how much (squared distance) the next
  // nearest code is farther; and "layer" [rows, D] under the layer's number.
  std::vector<int32_t> operator()(Ctx& ctx,
                                  std::span<const float> samples,
                                  Probe* probe = nullptr) const;

 private:
  class Encoder;
  std::vector<float> padded(std::span<const float> piece, int64_t pieces) const;

  MelShape pieces_;
  std::unique_ptr<const Encoder> encoder_;
  LogMel mel_;
};

}  // namespace quern
