// SPDX-License-Identifier: Apache-2.0
// FlowStream: mel frames while the speech tokens behind them are still being made.
//
// Each chunk of tokens makes all frames since the prompt anew, with a mask of blocks, so that early
// frames see little of what comes later. x before every Euler step is kept, and in the next chunk
// it takes the place of x of the frames that are held; the last frames, which would have seen more,
// are left free to change.
//
//   chunk 1   [ prompt | held |free]
//   chunk 2   [ prompt | held             |free]
//   chunk 3   [ prompt | held                            |free]
//
// The network's convolutions and its norm over time reach across all frames, so a streamed
// recording is never bit for bit the one made at once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/glm_tts/flow.h"

namespace quern {

// The published sizes, in tokens.
inline constexpr int64_t kFlowChunks[] = {25, 50, 200}, kFlowLookAhead[] = {12, 25, 100};

// How a recording is cut. Of each list the last entry repeats.
struct FlowStreamRule {
  std::vector<int64_t> chunks;      // tokens that a chunk waits for
  std::vector<int64_t> look_ahead;  // of all tokens so far the last, whose frames are not held
  std::vector<int64_t> blocks;      // frames, from the start of the prompt on
  // The published routine takes the prompt for one frame long: it holds so many frames fewer, and
  // computes the last step of all frames anew. Else frames that are held stay bit for bit.
  bool is_published = false;

  // Blocks of the prompt's frames, then of the frames of each chunk.
  static FlowStreamRule own(const FlowConfig& config,
                            int64_t prompt_frames,
                            std::span<const int64_t> chunks = kFlowChunks,
                            std::span<const int64_t> look_ahead = kFlowLookAhead);
  // What the published routine does with blocks of these sizes, constants of another model
  // included: blocks of [1, chunks ...] tokens as published_block_frames reckons them.
  static FlowStreamRule published(std::span<const int64_t> chunks = kFlowChunks,
                                  std::span<const int64_t> look_ahead = kFlowLookAhead);
};

struct FlowChunk {
  Tensor mel;            // [frames, bands]: of all tokens so far, without the prompt's frames
  int64_t held = 0;      // frames of x that were taken from the chunk before, the prompt's included
  int64_t settled = 0;   // of mel: the first so many that the next chunk will hold
};

class FlowStream {
 public:
  // The model must outlive the stream; what the input points to is copied. The tokens of `input`
  // are not read. options.noise is not read, options.blocks are the rule's. Throws invalid_argument
  // for a rule with an empty list or sizes below 0.
  FlowStream(const FlowModel& model,
             const FlowInput& input,
             FlowStreamRule rule,
             const FlowOptions& options = {});

  // Tokens that the next chunk waits for; the last chunk of a recording may have fewer.
  int64_t wanted() const { return entry(rule_.chunks, chunks_); }
  // Seconds of sound that the last chunk's look-ahead stands for.
  double look_ahead_seconds() const;
  // Takes further tokens. Noise [T, bands] for all frames, the prompt's included; empty: drawn from
  // the seed, the same for a frame in every chunk. Throws what FlowModel::sample throws; the stream
  // is then as it was before.
  FlowChunk take(Ctx& ctx, std::span<const int32_t> tokens, std::span<const float> noise = {});

  // x before each step of the last chunk, [steps] of [T, bands].
  const std::vector<Tensor>& before_steps() const { return before_; }

 private:
  static int64_t entry(const std::vector<int64_t>& list, int64_t i) {
    return list[static_cast<size_t>(i) < list.size() ? static_cast<size_t>(i) : list.size() - 1];
  }
  int64_t held_of(int64_t frames, int64_t chunk) const;
  FlowInput input() const;

  const FlowModel& model_;
  FlowStreamRule rule_;
  FlowOptions options_;
  std::vector<int32_t> prompt_tokens_, tokens_;
  std::vector<float> prompt_mel_, speaker_;
  int64_t chunks_ = 0;            // taken so far
  int64_t held_ = 0;              // frames of T that the next chunk holds
  std::vector<Tensor> before_;    // x before each step
  Tensor made_;                   // x behind the last step
};

// Joins the waves of growing chunks: what the published routine does to hand out sound early. Of
// each wave, which begins where the recording does, the part that was not yet handed out leaves, up
// to the look-ahead and the fade before it; where it begins, it is faded into from the chunk
// before.
class WaveSeam {
 public:
  WaveSeam(double rate_hz, double fade_seconds) : rate_hz_(rate_hz), fade_seconds_(fade_seconds) {}
  // wave: of all tokens so far; look_ahead: seconds of it that may still change. The last chunk
  // hands out all that is left.
  std::vector<float> take(std::span<const float> wave, double look_ahead_seconds, bool is_last);

 private:
  double rate_hz_, fade_seconds_;
  size_t given_ = 0;          // samples handed out
  std::vector<float> fading_;  // what followed them
};

}  // namespace quern
