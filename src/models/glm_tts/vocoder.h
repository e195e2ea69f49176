// SPDX-License-Identifier: Apache-2.0
// The vocoder of GLM-TTS, mel frames -> sound at 24 kHz: HiFT (Li et al. 2023, HiFTNet), a source of
// harmonics filtered by convolutions (Kong et al. 2020, HiFi-GAN) whose last layer is a short
// spectrum (Kaneko et al. 2022, iSTFTNet).
//
//   HiftVocoder vocoder(Builder(checkpoint of hift.pt or hift.safetensors, ctx));
//   std::vector<float> wave = vocoder(ctx, mel, {.seed = 7}).wave;
//
// A longer recording that begins with the same frames (the next chunk of a stream) is given the
// source of the shorter one, whose phases then go on where they were:
//
//   VocoderSound next = vocoder(ctx, longer_mel, {.seed = 7, .source_start = sound.source});
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "models/glm_tts/hift_signal.h"
#include "nn/builder.h"
#include "nn/model.h"
#include "nn/time_conv.h"
#include "ops/elementwise.h"

namespace quern {

inline constexpr int64_t kVocoderRateHz = 24000;
// At most so many mel frames at once, over six minutes: a frame takes some 200 KB while it is worked
// on.
inline constexpr int64_t kMostVocoderFrames = 20'000;

struct VocoderOptions {
  // Added to the harmonics, scaled by the model: standard normal [samples, harmonics()], or drawn
  // from a seed. Neither: none is added.
  std::span<const float> noise = {};
  std::optional<uint64_t> seed = {};
  // Takes the place of the first samples of the source, or of all.
  std::span<const float> source_start = {};
};

struct VocoderSound {
  std::vector<float> wave;    // -0.99 .. 0.99
  std::vector<float> source;  // as many
};

class HiftVocoder {
 public:
  // b stands at the root of the checkpoint. Channels and kernels are read off the shapes of the
  // weights, in every spelling of weight normalisation; rates and dilations are those of the
  // published model. Everything is computed in float32, whatever ctx says of activations: a phase
  // is a sum over the whole recording. Throws not_found or data_loss for tensors that are missing
  // or do not fit each other.
  explicit HiftVocoder(const Builder& b);

  int64_t bands() const { return conv_pre_.inputs(); }
  int64_t harmonics() const { return static_cast<int64_t>(mix_.weights.size()); }
  static constexpr int64_t kSamplesPerFrame = 480;

  // mel [T, bands], contiguous -> T * kSamplesPerFrame samples. Throws invalid_argument for another
  // shape, more than kMostVocoderFrames, noise or a source of another size. The number of threads
  // does not change a bit of it. A probe sees condnet, conv_pre, up, source_res, res, conv_post and
  // source_stft, rows in time.
  VocoderSound operator()(Ctx& ctx,
                          const Tensor& mel,
                          const VocoderOptions& options = {},
                          Probe* probe = nullptr) const;
  // Its parts: the pitch of each frame in Hz [T]; the source signal made of it; the wave of both.
  std::vector<float> pitch(Ctx& ctx, const Tensor& mel, Probe* probe = nullptr) const;
  std::vector<float> source(Ctx& ctx,
                            std::span<const float> pitch,
                            const VocoderOptions& options = {}) const;
  std::vector<float> decode(Ctx& ctx,
                            const Tensor& mel,
                            std::span<const float> source,
                            Probe* probe = nullptr) const;

 private:
  // Convolutions in pairs around which the input is carried: x += c2(snake(c1(snake(x)))).
  class ResidualBlock {
   public:
    explicit ResidualBlock(const Builder& b);
    Tensor operator()(Ctx& ctx, const Tensor& x) const;
    int64_t channels() const { return pairs_.front().second.channels(); }

   private:
    struct Waves {
      Waves(const Builder& b, int64_t channels);
      Tensor operator()(Ctx& ctx, const Tensor& x) const {
        return ops::snake(ctx, x, alpha, inverse);
      }
      Tensor alpha, inverse;
    };
    struct Pair {
      Pair(const Builder& b, int64_t index, int64_t dilation);
      TimeConv first, second;
      Waves first_waves, second_waves;
    };
    std::vector<Pair> pairs_;
  };
  struct Stage {
    Stage(const Builder& b, int64_t index);
    TransposedTimeConv up;
    TimeConv source_down;
    ResidualBlock source_block;
    std::vector<ResidualBlock> blocks;
  };

  explicit HiftVocoder(const Builder& b, const Ctx& exact);
  void check(const Tensor& mel) const;
  void check_channels(const std::string& where) const;

  std::shared_ptr<const Checkpoint> checkpoint_;  // vectors may lie in its files
  TimeConv conv_pre_, conv_post_;
  std::vector<Stage> stages_;
  std::vector<TimeConv> pitch_convs_;
  Linear pitch_out_;
  HarmonicMix mix_;
};

}  // namespace quern
