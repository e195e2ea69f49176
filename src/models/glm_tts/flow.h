// SPDX-License-Identifier: Apache-2.0
// The network of GLM-TTS that turns speech tokens into mel frames: a diffusion transformer (Peebles,
// Xie 2022) trained by flow matching (Lipman et al. 2022), in the manner of F5-TTS (Chen et al.
// 2024). From noise x at time 0 it follows its velocity to the mel frames at time 1, in Euler steps;
// each step runs the network with the voice and without, and goes beyond the difference
// (classifier-free guidance; Ho, Salimans 2022).
//
//   FlowModel flow(Builder(checkpoint of flow.pt or flow.safetensors, ctx), config);
//   Tensor mel = flow.sample(ctx, {prompt tokens, tokens, prompt mel, speaker}, {.seed = 7});
//
// FlowStream (flow_stream.h) does the same while tokens are still being made.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "models/glm_tts/flow_config.h"
#include "nn/builder.h"
#include "nn/model.h"
#include "nn/rope.h"

namespace quern {

// A recording has at most so many mel frames (over half an hour).
inline constexpr int64_t kMostFlowFrames = 100'000;

// Read off the shapes of the weights.
struct FlowSizes {
  int64_t bands = 0;                              // of a mel frame
  int64_t width = 0, heads = 0, head_size = 0;    // of the transformer
  int64_t inner = 0, depth = 0;                   // of its feed-forward layers; blocks
  int64_t vocab = 0, text_width = 0;              // token ids, and their embedding
  int64_t text_inner = 0, text_blocks = 0;
  int64_t speaker = 0;                            // elements of the speaker vector
  int64_t time_inputs = 0;                        // sines and cosines of the time
  int64_t groups = 0;                             // of the convolutions that place frames
};

// What is to be said, and whose voice says it. Borrowed for the call.
struct FlowInput {
  std::span<const int32_t> prompt_tokens;  // of the voice's recording
  std::span<const int32_t> tokens;
  std::span<const float> prompt_mel;  // [P, bands] of the voice's recording; may be empty
  std::span<const float> speaker;     // as the speaker encoder gives it: it is normalised here
};

enum class FlowBranch : uint8_t {
  guided,  // sees the prompt's mel frames and the speaker
  free,    // sees zeros in their place, and the same tokens
};

struct FlowOptions {
  int64_t steps = 10;  // 1 .. 100
  float guidance = 0.7f;
  // x at time 0, [T, bands] standard normal; empty: drawn from the seed, for each frame and band by
  // itself, so that a longer recording of the same seed begins with the same noise.
  std::span<const float> noise = {};
  uint64_t seed = 0;
  // The mask of flow_mask.h; empty: every frame sees all.
  std::span<const int64_t> blocks = {};
};

// Times of the steps: dense near 0, where noise becomes speech.
struct FlowTimes {
  // In float32, as the reference adds them up.
  explicit FlowTimes(int64_t steps);

  std::vector<float> at, length;  // [steps]
};

// What guides every step of one recording: made once by FlowModel::conditions.
struct FlowConditions {
  int64_t frames = 0;  // T
  std::vector<FlowBranch> branches;
  FlowTimes times{1};
  Tensor prompt;                      // [T, bands]: the mel prompt, then zeros
  Tensor tokens;                      // [T, text width]
  std::vector<Tensor> modulations;    // of each block [steps B, 6 D], then of the last norm [.., 2 D]
  RopeTables rope;                    // [B T, E / 2]
  std::vector<int32_t> segments;      // [B + 1]: rows of the branches
  std::vector<int32_t> visible = {};  // [B T], or empty
};

class FlowModel {
 public:
  // b stands at the root of the checkpoint; names may begin with "estimator.". Throws not_found or
  // data_loss for tensors that are missing or do not fit each other, unsupported for parts that are
  // not carried.
  explicit FlowModel(const Builder& b, const FlowConfig& config = {});
  ~FlowModel();
  FlowModel(FlowModel&&) noexcept;
  FlowModel& operator=(FlowModel&&) noexcept;

  const FlowSizes& sizes() const;
  const FlowConfig& config() const;

  // Mel frames [T - P, bands] (none, where the prompt is longer than all tokens) that follow the P
  // of the prompt: T = config().frames(all tokens). Throws invalid_argument for an empty recording,
  // a token outside the vocabulary, sizes that do not fit, and more than kMostFlowFrames. Neither
  // the number of threads nor the company of a branch changes a bit of it. A probe of the parts
  // below sees text_embed, time_embed, concat, attn of the first block, block and norm_out, rows in
  // time, one branch below the other.
  Tensor sample(Ctx& ctx,
                const FlowInput& input,
                const FlowOptions& options = {},
                Probe* probe = nullptr) const;

  // The parts of sample(), for who goes step by step.
  //
  // x at time 0, [frames, bands]. Throws invalid_argument for noise of another size.
  Tensor start(const FlowOptions& options, int64_t frames) const;
  FlowConditions conditions(Ctx& ctx,
                            const FlowInput& input,
                            const FlowOptions& options,
                            std::span<const FlowBranch> branches,
                            Probe* probe = nullptr) const;
  // The network at times.at[step] for x [T, bands]: [B T, bands], one branch below the other.
  Tensor velocity(Ctx& ctx,
                  const Tensor& x,
                  const FlowConditions& conditions,
                  int64_t step,
                  Probe* probe = nullptr) const;
  // All steps, from x [T, bands] on; `before` sees x before each and may change it. The conditions
  // are those of both branches, guided first, or of one.
  using BeforeStep = FunctionRef<void(int64_t step, Tensor& x)>;
  Tensor integrate(Ctx& ctx,
                   Tensor x,
                   const FlowConditions& conditions,
                   float guidance,
                   BeforeStep before) const;

 private:
  struct Network;
  std::unique_ptr<const Network> network_;
};

}  // namespace quern
