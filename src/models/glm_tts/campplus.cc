// SPDX-License-Identifier: Apache-2.0
// CAM++. Wang et al. 2023, "CAM++: A Fast and Efficient Network for Speaker Verification Using
// Context-Aware Masking". Reference: 3D-Speaker, speakerlab/models/campplus.
//
// Frames x [T, 80], relu behind every convolution of the head and of the first layer:
//
//   h = conv(residual blocks(conv(x)))       over time and bands; bands 80, 80, 40, 20, 10
//   h = conv(h)                              over time, all bands as channels; every other step
//   three blocks, each:
//     per layer:  y = relu(W relu(norm(h)))
//                 h = [h, conv(y) sigmoid(W2 relu(W1 (mean(y) + mean of the 100 steps around)))]
//     h = W relu(norm(h))
//   h = relu(norm(h));   the vector = W [mean(h), deviation(h)]
//
// Steps are rows, so that a convolution is a product with the rows under its taps.
#include "models/glm_tts/campplus.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/elementwise.h"
#include "ops/unfold.h"

namespace quern {
namespace {

constexpr int64_t kSegment = 100;     // steps whose mean is a mask's context
constexpr int64_t kPlaneRows = 4096;  // of a product over time and bands, about
constexpr int64_t kRowGrain = 16;     // of small rows that a thread takes at once

Linear packed(const Ctx& ctx, std::vector<float> weights, const CampplusWeights::Convolution& c) {
  const int64_t cols = c.in * c.taps;
  QuantMatrix matrix;
  matrix.codes = Tensor::from(weights, {c.out, cols});
  matrix.code_bits = 32;
  Tensor bias;
  if (!c.bias.empty()) bias = Tensor::from(c.bias, {c.out});
  return {ops::pack_weight(ctx, {std::move(matrix)}), std::move(bias), c.out, cols};
}

// Over time.
Linear packed(const Ctx& ctx, const CampplusWeights::Convolution& c) {
  return packed(ctx, c.weights, c);
}

void relu(const Ctx& ctx, const Tensor& x) {
  ctx.pool->parallel_for(x.dim(0), kRowGrain, [&](int64_t begin, int64_t end, int) {
    const int64_t row = x.numel() / x.dim(0);
    float* values = x.data<float>();
    for (int64_t i = begin * row; i < end * row; ++i) values[i] = std::max(values[i], 0.0f);
  });
}

// A convolution of 3 x 3 taps, or of one, over [T, F, C].
class PlaneConvolution {
 public:
  PlaneConvolution(const Ctx& ctx, const CampplusWeights::Convolution& c, int64_t band_stride)
      : product_(packed(ctx, turned(c), c)) {
    const int64_t side = c.taps == 1 ? 1 : 3;
    taps_.time = {.taps = side, .padding = side / 2};
    taps_.bands = {.taps = side, .stride = band_stride, .padding = side / 2};
  }

  // [T, F, C] -> [T, outputs(F), rows]. In parts: nine rows are laid out for each.
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    const int64_t frames = x.dim(0), bands = taps_.bands.outputs(x.dim(1));
    Tensor out = ctx.empty({frames * bands, product_.rows()});
    const int64_t step = std::max<int64_t>(1, kPlaneRows / bands);
    for (int64_t first = 0; first < frames; first += step) {
      const int64_t end = std::min(first + step, frames);
      const Tensor part = product_(ctx, ops::unfold_plane(ctx, x, taps_, first, end));
      ops::copy_rows_(ctx, out, first * bands, part);
    }
    return out.reshape({frames, bands, product_.rows()});
  }

 private:
  // [out, in, bands, time] -> [out, time, bands, in], as the taps are laid out.
  static std::vector<float> turned(const CampplusWeights::Convolution& c) {
    const int64_t side = c.taps == 1 ? 1 : 3;
    std::vector<float> out;
    for (int64_t o = 0; o < c.out; ++o)
      for (int64_t t = 0; t < side; ++t)
        for (int64_t f = 0; f < side; ++f)
          for (int64_t i = 0; i < c.in; ++i)
            out.push_back(c.weights[static_cast<size_t>(((o * c.in + i) * side + f) * side + t)]);
    return out;
  }

  Linear product_;
  ops::PlaneTaps taps_;
};

class ResidualBlock {
 public:
  ResidualBlock(const Ctx& ctx, const CampplusWeights::Residual& r, int64_t band_stride)
      : first_(ctx, r.first, band_stride), second_(ctx, r.second, 1) {
    if (r.shortcut.out > 0) shortcut_.emplace(ctx, r.shortcut, band_stride);
  }

  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    Tensor y = first_(ctx, x);
    relu(ctx, y);
    y = second_(ctx, y);
    ops::add_(ctx, y, shortcut_ ? (*shortcut_)(ctx, x) : x);
    relu(ctx, y);
    return y;
  }

 private:
  PlaneConvolution first_, second_;
  std::optional<PlaneConvolution> shortcut_;
};

// relu(norm(x)) of the first columns of x, as rows of their own.
Tensor norm_relu(Ctx& ctx, const CampplusWeights::Affine& norm, const Tensor& x) {
  const auto columns = static_cast<int64_t>(norm.scale.size());
  Tensor out = ctx.empty({x.dim(0), columns});
  ctx.pool->parallel_for(x.dim(0), kRowGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float *from = x.data<float>() + row * x.stride(0), *scale = norm.scale.data(),
                  *shift = norm.shift.data();
      float* to = out.data<float>() + row * columns;
      for (int64_t c = 0; c < columns; ++c) to[c] = std::max(from[c] * scale[c] + shift[c], 0.0f);
    }
  });
  return out;
}

// The mean of rows [begin, end).
std::vector<double> mean_of(const Tensor& x, int64_t begin, int64_t end) {
  std::vector<double> out(static_cast<size_t>(x.dim(1)));
  for (int64_t row = begin; row < end; ++row)
    for (size_t c = 0; c < out.size(); ++c)
      out[c] += x.data<float>()[row * x.dim(1) + static_cast<int64_t>(c)];
  for (double& value : out) value /= static_cast<double>(end - begin);
  return out;
}

// What a mask knows of each segment: the mean of its steps (the last one may be short) and of all.
Tensor contexts_of(Ctx& ctx, const Tensor& x) {
  const int64_t steps = x.dim(0), segments = (steps + kSegment - 1) / kSegment;
  Tensor out = ctx.empty({segments, x.dim(1)});
  const std::vector<double> whole = mean_of(x, 0, steps);
  for (int64_t s = 0; s < segments; ++s) {
    const std::vector<double> own = mean_of(x, s * kSegment, std::min((s + 1) * kSegment, steps));
    for (size_t c = 0; c < own.size(); ++c)
      out.data<float>()[s * x.dim(1) + static_cast<int64_t>(c)] =
          static_cast<float>(whole[c] + own[c]);
  }
  return out;
}

class MaskedLayer {
 public:
  MaskedLayer(const Ctx& ctx, const CampplusWeights::Layer& l)
      : norm_(l.norm),
        bottleneck_(packed(ctx, l.bottleneck)),
        local_(packed(ctx, l.local)),
        squeeze_(packed(ctx, l.squeeze)),
        excite_(packed(ctx, l.excite)),
        taps_{.taps = 3, .padding = l.local.dilation, .dilation = l.local.dilation} {}

  int64_t read() const { return static_cast<int64_t>(norm_.scale.size()); }
  int64_t grown() const { return local_.rows(); }

  // Reads the first read() columns of h, and writes the grown() behind them.
  void operator()(Ctx& ctx, const Tensor& h) const {
    const Tensor y = bottleneck_(ctx, norm_relu(ctx, norm_, h));
    relu(ctx, y);
    const Tensor local = local_(ctx, ops::unfold(ctx, y, taps_));
    const Tensor inner = squeeze_(ctx, contexts_of(ctx, y));
    relu(ctx, inner);
    const Tensor mask = excite_(ctx, inner);
    for (float& x : mask.span<float>()) x = 1 / (1 + std::exp(-x));
    const int64_t columns = grown();
    for (int64_t row = 0; row < h.dim(0); ++row) {
      const float *from = local.data<float>() + row * columns,
                  *by = mask.data<float>() + row / kSegment * columns;
      float* to = h.data<float>() + row * h.stride(0) + read();
      for (int64_t c = 0; c < columns; ++c) to[c] = from[c] * by[c];
    }
  }

 private:
  CampplusWeights::Affine norm_;
  Linear bottleneck_, local_, squeeze_, excite_;
  ops::TapLayout taps_;
};

class DenseBlock {
 public:
  DenseBlock(const Ctx& ctx, const CampplusWeights::Block& b)
      : norm_(b.norm), transit_(packed(ctx, b.transit)) {
    for (const CampplusWeights::Layer& layer : b.layers) layers_.emplace_back(ctx, layer);
  }

  // `number`: as the probe knows it.
  Tensor operator()(Ctx& ctx, const Tensor& x, int number, Probe* probe) const {
    const auto width = static_cast<int64_t>(norm_.scale.size());
    const Tensor h = ctx.empty({x.dim(0), width});
    for (int64_t row = 0; row < x.dim(0); ++row)
      std::copy_n(x.data<float>() + row * x.dim(1), x.dim(1), h.data<float>() + row * width);
    for (const MaskedLayer& layer : layers_) layer(ctx, h);
    if (probe) probe->record("block", number, h);
    Tensor y = transit_(ctx, norm_relu(ctx, norm_, h));
    if (probe) probe->record("transit", number, y);
    return y;
  }

 private:
  CampplusWeights::Affine norm_;
  std::vector<MaskedLayer> layers_;
  Linear transit_;
};

// [T, F, C] -> [T, C F], channel by channel.
Tensor channels_first(Ctx& ctx, const Tensor& x) {
  const int64_t bands = x.dim(1), channels = x.dim(2);
  Tensor out = ctx.empty({x.dim(0), channels * bands});
  for (int64_t t = 0; t < x.dim(0); ++t)
    for (int64_t f = 0; f < bands; ++f)
      for (int64_t c = 0; c < channels; ++c)
        out.data<float>()[(t * channels + c) * bands + f] =
            x.data<float>()[(t * bands + f) * channels + c];
  return out;
}

// Mean and deviation (of a sample: over one less than there are) of every column, [1, 2 C].
Tensor statistics_of(Ctx& ctx, const Tensor& x) {
  const int64_t steps = x.dim(0), columns = x.dim(1);
  Tensor out = ctx.empty({1, 2 * columns});
  const std::vector<double> mean = mean_of(x, 0, steps);
  for (int64_t c = 0; c < columns; ++c) {
    const double centre = mean[static_cast<size_t>(c)];
    double squares = 0;
    for (int64_t t = 0; t < steps; ++t) {
      const double away = x.data<float>()[t * columns + c] - centre;
      squares += away * away;
    }
    out.data<float>()[c] = static_cast<float>(centre);
    out.data<float>()[columns + c] =
        static_cast<float>(std::sqrt(squares / static_cast<double>(steps - 1)));
  }
  return out;
}

const CampplusWeights& checked(const CampplusWeights& weights) {
  check_campplus(weights);
  return weights;
}

Ctx with_floats(Ctx ctx) {
  ctx.activation = Activation::f32;
  return ctx;
}

}  // namespace

class SpeakerEncoder::Network {
 public:
  Network(const Ctx& ctx, const CampplusWeights& w)
      : head_in_(ctx, w.head_in, 1),
        head_out_(ctx, w.head_out, 2),
        tdnn_(packed(ctx, w.tdnn)),
        out_norm_(w.out),
        embedding_(packed(ctx, w.embedding)),
        bands_(w.tdnn.in / w.head_out.out * 8) {
    for (size_t i = 0; i < w.residuals.size(); ++i)
      residuals_.emplace_back(ctx, w.residuals[i], i % 2 == 0 ? 2 : 1);
    for (const CampplusWeights::Block& block : w.blocks) blocks_.emplace_back(ctx, block);
  }

  int64_t size() const { return embedding_.rows(); }
  int64_t bands() const { return bands_; }

  // [frames, bands] -> [1, size()]
  Tensor operator()(Ctx& ctx, const Tensor& frames, Probe* probe) const {
    const auto show = [&](const char* name, const Tensor& value) {
      if (probe) probe->record(name, 0, value);
    };
    const Tensor planes = head(ctx, frames.reshape({frames.dim(0), bands_, 1}));
    show("head", planes);
    Tensor h = tdnn_(ctx, ops::unfold(ctx, planes, {.taps = 5, .stride = 2, .padding = 2}));
    relu(ctx, h);
    show("tdnn", h);
    for (size_t b = 0; b < blocks_.size(); ++b)
      h = blocks_[b](ctx, h, static_cast<int>(b) + 1, probe);
    if (out_norm_.scale.empty())
      relu(ctx, h);
    else
      h = norm_relu(ctx, out_norm_, h);
    show("out_nonlinear", h);
    const Tensor statistics = statistics_of(ctx, h);
    show("stats", statistics);
    return embedding_(ctx, statistics);
  }

 private:
  Tensor head(Ctx& ctx, const Tensor& frames) const {
    Tensor h = head_in_(ctx, frames);
    relu(ctx, h);
    for (const ResidualBlock& block : residuals_) h = block(ctx, h);
    h = head_out_(ctx, h);
    relu(ctx, h);
    return channels_first(ctx, h);
  }

  PlaneConvolution head_in_, head_out_;
  std::vector<ResidualBlock> residuals_;
  Linear tdnn_;
  std::vector<DenseBlock> blocks_;
  CampplusWeights::Affine out_norm_;
  Linear embedding_;
  int64_t bands_;
};

SpeakerEncoder::SpeakerEncoder(const Ctx& ctx, const CampplusWeights& weights)
    : network_(std::make_unique<Network>(with_floats(ctx), checked(weights))) {}

SpeakerEncoder::~SpeakerEncoder() = default;

int64_t SpeakerEncoder::size() const {
  return network_->size();
}
int64_t SpeakerEncoder::bands() const {
  return network_->bands();
}

std::vector<float> SpeakerEncoder::operator()(Ctx& ctx,
                                              std::span<const float> fbank,
                                              Probe* probe) const {
  const auto frames = static_cast<int64_t>(fbank.size()) / bands();
  if (frames < 3 || static_cast<int64_t>(fbank.size()) != frames * bands())
    fail(ErrorCode::invalid_argument,
         "reference recording: {} values of {} bands: a speaker is known by three frames at least",
         fbank.size(),
         bands());
  Ctx exact = with_floats(ctx);
  const Tensor rows = Tensor::borrow(fbank.data(), {frames, bands()}, DType::f32);
  const Tensor vector = (*network_)(exact, rows, probe);
  const auto values = vector.span<float>();
  for (const float x : values)
    if (!std::isfinite(x)) fail(ErrorCode::data_loss, "speaker encoder: it makes no numbers");
  return {values.begin(), values.end()};
}

}  // namespace quern
