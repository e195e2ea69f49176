// SPDX-License-Identifier: Apache-2.0
// The layers of FlowModel, in the order in which a frame meets them. Private to the folder.
//
//   e = text blocks(embedding(tokens, stretched to T) + position)
//   h = proj([x | prompt | e]);  h += convolutions over time(h)
//   c = [time | speaker];  s = linear(silu(c)), for every norm its own
//   per block:  h += gate_a attention(norm(h) (1 + scale_a) + shift_a)
//               h += gate_m mlp(norm(h) (1 + scale_m) + shift_m)
//   v = proj(norm(h) (1 + scale) + shift)
#pragma once

#include <cmath>
#include <vector>

#include "models/glm_tts/flow.h"
#include "nn/embedding.h"
#include "nn/mlp.h"
#include "nn/norm.h"
#include "nn/time_conv.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace quern {

inline constexpr float kFlowNormEps = 1e-6f;

// ConvNeXt V2 over time (Woo et al. 2023): x += W2 response(gelu(W1 norm(convolution(x)))).
class FlowTextBlock {
 public:
  FlowTextBlock(const Builder& b, const FlowSizes& s);
  Tensor operator()(Ctx& ctx, const Tensor& x) const;

 private:
  Tensor taps_, taps_bias_;  // [taps, C], [C]
  LayerNorm norm_;
  Linear widen_, narrow_;
  Tensor gamma_, beta_;
};

class FlowTextEmbedding {
 public:
  FlowTextEmbedding(const Builder& b, const FlowSizes& s);
  // [T, text width]: frame i holds token i n / T of n.
  Tensor operator()(Ctx& ctx, std::span<const int32_t> tokens, int64_t frames) const;

 private:
  void add_positions(Ctx& ctx, Tensor& x) const;

  Embedding table_;
  std::vector<FlowTextBlock> blocks_;
};

// sin and cos of 1000 t, then an MLP.
class FlowTimeEmbedding {
 public:
  FlowTimeEmbedding(const Builder& b, const FlowSizes& s);
  Tensor operator()(Ctx& ctx, std::span<const float> times) const;  // [n, D]

 private:
  int64_t inputs_;
  PlainMlp mlp_;
};

class FlowInputEmbedding {
 public:
  FlowInputEmbedding(const Builder& b, const FlowSizes& s);
  // rows [B T, 2 bands + text width] -> [B T, D]. Convolutions do not reach from one of the
  // segments into the next.
  Tensor operator()(Ctx& ctx, const Tensor& rows, std::span<const int32_t> segments) const;

 private:
  Linear proj_;
  TimeConv first_, second_;
};

// What the blocks see of a step beside h.
struct FlowStep {
  const RopeTables& rope;
  ops::SegmentSight sight;
};

// Full attention of which the first head alone is rotated: the reference turns the first E of all D
// elements, before they are cut into heads.
class FlowAttention {
 public:
  FlowAttention(const Builder& b, const FlowSizes& s);
  Tensor operator()(Ctx& ctx, const Tensor& x, const FlowStep& step) const;

 private:
  int64_t heads_, head_size_;
  float scale_;
  Linear qkv_, out_;
};

class FlowBlock {
 public:
  FlowBlock(const Builder& b, const FlowSizes& s);
  // c [R, D + speaker] after silu -> [R, 6 D]: shift, scale, gate of the attention, then of the MLP.
  Tensor modulation(Ctx& ctx, const Tensor& c) const { return modulation_(ctx, c); }
  // h [B T, D], updated in place; modulation [B, 6 D]
  void operator()(Ctx& ctx,
                  Tensor& h,
                  const Tensor& modulation,
                  const FlowStep& step,
                  Probe* probe) const;

 private:
  Linear modulation_;
  FlowAttention attention_;
  PlainMlp mlp_;
};

// [R, n D] -> part i of n.
inline Tensor part_of(const Tensor& modulation, int64_t i, int64_t n) {
  const int64_t size = modulation.dim(1) / n;
  return modulation.slice(1, i * size, (i + 1) * size);
}

}  // namespace quern
