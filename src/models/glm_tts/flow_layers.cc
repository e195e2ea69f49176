// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/flow_layers.h"

#include <algorithm>

namespace quern {
namespace {

constexpr int64_t kMostPosition = 4095;  // later frames stand where this one does

// [C, 1, taps] as it is stored -> [taps, C]
Tensor taps_of(const Builder& b, int64_t channels) {
  const Shape shape = stored_shape(b, "weight");
  if (shape.rank() != 3 || shape[0] != channels || shape[1] != 1 || shape[2] % 2 != 1)
    fail(ErrorCode::data_loss,
         "{}: expected [{}, 1, an odd number of taps], got {}",
         b.prefix(),
         channels,
         shape.text());
  const int64_t taps = shape[2];
  const Tensor stored = b.vector("weight", channels * taps);
  Tensor out = Tensor::empty({taps, channels}, DType::f32);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < taps; ++i)
      out.data<float>()[i * channels + c] = stored.data<float>()[c * taps + i];
  return out;
}

// Nearest neighbour as the reference stretches a row of numbers: its step is a float32.
std::vector<int32_t> stretched(std::span<const int32_t> tokens, int64_t frames) {
  const auto count = static_cast<int64_t>(tokens.size());
  const float step = static_cast<float>(count) / static_cast<float>(frames);
  std::vector<int32_t> out(static_cast<size_t>(frames));
  for (int64_t i = 0; i < frames; ++i) {
    int64_t from = static_cast<int64_t>(std::floor(static_cast<float>(i) * step));
    if (frames == count) from = i;
    if (frames == 2 * count) from = i / 2;
    out[static_cast<size_t>(i)] = tokens[static_cast<size_t>(std::min(from, count - 1))];
  }
  return out;
}

}  // namespace

FlowTextBlock::FlowTextBlock(const Builder& b, const FlowSizes& s)
    : taps_(taps_of(b / "dwconv", s.text_width)),
      taps_bias_(b.vector("dwconv.bias", s.text_width)),
      norm_(b / "norm", s.text_width, kFlowNormEps),
      widen_(b.whole({"pwconv1"}, s.text_inner, s.text_width, Bias::present)),
      narrow_(b.whole({"pwconv2"}, s.text_width, s.text_inner, Bias::present)),
      gamma_(b.vector("grn.gamma", s.text_inner)),
      beta_(b.vector("grn.beta", s.text_inner)) {}

Tensor FlowTextBlock::operator()(Ctx& ctx, const Tensor& x) const {
  Tensor y = widen_(
      ctx, norm_(ctx, ops::convolve_channels(ctx, x, taps_, taps_bias_, taps_.dim(0) / 2)));
  ops::gelu_(ctx, y);
  ops::response_norm_(ctx, y, gamma_, beta_, 1e-6f);
  Tensor out = narrow_(ctx, y);
  ops::add_(ctx, out, x);
  return out;
}

FlowTextEmbedding::FlowTextEmbedding(const Builder& b, const FlowSizes& s)
    : table_(b, "text_embed", s.vocab, s.text_width) {
  for (int64_t i = 0; i < s.text_blocks; ++i) blocks_.emplace_back(b / "text_blocks" / i, s);
}

// x += [cos(p w) | sin(p w)], w_k = 10000^(-2 k / width), in float32 as the reference has it.
void FlowTextEmbedding::add_positions(Ctx& ctx, Tensor& x) const {
  const int64_t width = x.dim(1), half = width / 2;
  std::vector<float> w(static_cast<size_t>(half));
  for (int64_t k = 0; k < half; ++k) {
    const float exponent = static_cast<float>(2 * k) / static_cast<float>(width);
    w[static_cast<size_t>(k)] = 1.0f / static_cast<float>(std::pow(10000.0, double{exponent}));
  }
  ctx.pool->parallel_for(x.dim(0), 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const auto position = static_cast<float>(std::min(t, kMostPosition));
      float* row = x.data<float>() + t * width;
      for (int64_t k = 0; k < half; ++k) {
        const double angle = position * w[static_cast<size_t>(k)];
        row[k] += static_cast<float>(std::cos(angle));
        row[half + k] += static_cast<float>(std::sin(angle));
      }
    }
  });
}

Tensor FlowTextEmbedding::operator()(Ctx& ctx,
                                     std::span<const int32_t> tokens,
                                     int64_t frames) const {
  Tensor x = table_(ctx, stretched(tokens, frames));
  add_positions(ctx, x);
  for (const FlowTextBlock& block : blocks_) x = block(ctx, x);
  return x;
}

FlowTimeEmbedding::FlowTimeEmbedding(const Builder& b, const FlowSizes& s)
    : inputs_(s.time_inputs),
      mlp_(b / "time_mlp",
           "0",
           "2",
           {.in = s.time_inputs, .inner = s.width, .out = s.width},
           ops::silu_) {}

Tensor FlowTimeEmbedding::operator()(Ctx& ctx, std::span<const float> times) const {
  const int64_t half = inputs_ / 2;
  const auto decay = static_cast<float>(-std::log(10000.0) / static_cast<double>(half - 1));
  Tensor x = ctx.empty({static_cast<int64_t>(times.size()), inputs_});
  for (size_t i = 0; i < times.size(); ++i) {
    float* row = x.data<float>() + static_cast<int64_t>(i) * inputs_;
    for (int64_t k = 0; k < half; ++k) {
      const float w = std::exp(static_cast<float>(k) * decay);
      const double angle = 1000.0f * times[i] * w;
      row[k] = static_cast<float>(std::sin(angle));
      row[half + k] = static_cast<float>(std::cos(angle));
    }
  }
  return mlp_(ctx, x);
}

FlowInputEmbedding::FlowInputEmbedding(const Builder& b, const FlowSizes& s)
    : proj_(b.whole({"proj"}, s.width, 2 * s.bands + s.text_width, Bias::present)),
      first_(b / "conv_pos_embed.conv1d.0", {.groups = s.groups}),
      second_(b / "conv_pos_embed.conv1d.2", {.groups = s.groups}) {
  for (const TimeConv* conv : {&first_, &second_})
    if (conv->inputs() != s.width || conv->channels() != s.width)
      fail(ErrorCode::data_loss,
           "{}.conv_pos_embed: expected {} channels to {}, got {} to {}",
           b.prefix(),
           s.width,
           s.width,
           conv->inputs(),
           conv->channels());
}

Tensor FlowInputEmbedding::operator()(Ctx& ctx,
                                      const Tensor& rows,
                                      std::span<const int32_t> segments) const {
  Tensor h = proj_(ctx, rows);
  for (size_t i = 0; i + 1 < segments.size(); ++i) {
    Tensor part = h.slice(0, segments[i], segments[i + 1]);
    Tensor y = first_(ctx, part);
    ops::mish_(ctx, y);
    y = second_(ctx, y);
    ops::mish_(ctx, y);
    ops::add_(ctx, part, y);
  }
  return h;
}

FlowAttention::FlowAttention(const Builder& b, const FlowSizes& s)
    : heads_(s.heads),
      head_size_(s.head_size),
      scale_(1.0f / std::sqrt(static_cast<float>(s.head_size))),
      qkv_(b.whole({"to_q", "to_k", "to_v"}, s.width, s.width, Bias::present)),
      out_(b.whole({"to_out.0"}, s.width, s.width, Bias::present)) {}

Tensor FlowAttention::operator()(Ctx& ctx, const Tensor& x, const FlowStep& step) const {
  const Tensor qkv = qkv_(ctx, x).reshape({x.dim(0), 3 * heads_, head_size_});
  for (const int64_t head : {int64_t{0}, heads_}) {  // the first of the queries and of the keys
    Tensor rotated = qkv.slice(1, head, head + 1);
    ops::rope_(ctx, rotated, step.rope.cos, step.rope.sin, ops::RopeStyle::interleaved);
  }
  return out_(ctx,
              ops::segment_attention(ctx,
                                     qkv.slice(1, 0, heads_),
                                     qkv.slice(1, heads_, 2 * heads_),
                                     qkv.slice(1, 2 * heads_, 3 * heads_),
                                     step.sight,
                                     scale_));
}

FlowBlock::FlowBlock(const Builder& b, const FlowSizes& s)
    : modulation_(
          b.whole({"attn_norm.linear"}, 6 * s.width, s.width + s.speaker, Bias::present)),
      attention_(b / "attn", s),
      mlp_(b / "ff.ff",
           "0.0",
           "2",
           {.in = s.width, .inner = s.inner, .out = s.width},
           ops::gelu_tanh_) {}

void FlowBlock::operator()(Ctx& ctx,
                           Tensor& h,
                           const Tensor& modulation,
                           const FlowStep& step,
                           Probe* probe) const {
  const auto normed = [&](int64_t first) {
    return ops::modulated_norm(ctx,
                               h,
                               {.shift = part_of(modulation, first, 6),
                                .scale = part_of(modulation, first + 1, 6),
                                .segments = step.sight.segments},
                               kFlowNormEps);
  };
  const Tensor attended = attention_(ctx, normed(0), step);
  if (probe) probe->record("attn", 0, attended);
  ops::add_gated_(ctx, h, attended, part_of(modulation, 2, 6), step.sight.segments);
  ops::add_gated_(
      ctx, h, mlp_(ctx, normed(3)), part_of(modulation, 5, 6), step.sight.segments);
}

}  // namespace quern
