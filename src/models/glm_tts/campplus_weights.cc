// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/campplus_weights.h"

#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

using Convolution = CampplusWeights::Convolution;
using Affine = CampplusWeights::Affine;

std::vector<float> floats_of(const Checkpoint& tensors, const std::string& name) {
  const Tensor t = read_f32(tensors, name);
  const auto values = t.span<float>();
  return {values.begin(), values.end()};
}

// Reads names of the public definition below a prefix ("xvector.block1.tdnnd3.").
class NamedLayers {
 public:
  explicit NamedLayers(const Checkpoint& tensors) : tensors_(tensors) {}

  Convolution convolution(const std::string& name) const {
    const std::string bias = name + ".bias";
    return read_convolution(tensors_, name + ".weight", tensors_.has(bias) ? bias : "");
  }
  // One with the norm behind it.
  Convolution normed(const std::string& name, const std::string& norm) const {
    Convolution out = convolution(name);
    melt(out, batch_norm(norm));
    return out;
  }
  Affine batch_norm(const std::string& name) const {
    const bool has_weight = tensors_.has(name + ".weight");
    return read_batch_norm(tensors_,
                           {.weight = has_weight ? name + ".weight" : "",
                            .bias = has_weight ? name + ".bias" : "",
                            .mean = name + ".running_mean",
                            .variance = name + ".running_var"});
  }
  bool has(const std::string& name) const { return tensors_.has(name + ".weight"); }

  CampplusWeights::Residual residual(const std::string& name) const {
    CampplusWeights::Residual out{.first = normed(name + ".conv1", name + ".bn1"),
                                  .second = normed(name + ".conv2", name + ".bn2"),
                                  .shortcut = {}};
    if (has(name + ".shortcut.0"))
      out.shortcut = normed(name + ".shortcut.0", name + ".shortcut.1");
    return out;
  }
  CampplusWeights::Layer layer(const std::string& name, int64_t dilation) const {
    CampplusWeights::Layer out{
        .norm = batch_norm(name + ".nonlinear1.batchnorm"),
        .bottleneck = normed(name + ".linear1", name + ".nonlinear2.batchnorm"),
        .local = convolution(name + ".cam_layer.linear_local"),
        .squeeze = convolution(name + ".cam_layer.linear1"),
        .excite = convolution(name + ".cam_layer.linear2")};
    out.local.dilation = dilation;
    return out;
  }

 private:
  const Checkpoint& tensors_;
};

// Sizes along the way.
class SizeCheck {
 public:
  void expect(bool holds, const std::string& layer) const {
    if (!holds)
      fail(ErrorCode::data_loss,
           "speaker encoder: {}: sizes that do not fit to {} channels before it",
           layer,
           channels);
  }
  // A convolution that reads all channels.
  void pass(const Convolution& c, int64_t taps, const std::string& layer) {
    constexpr int64_t kMostDilation = 64;
    expect(c.in == channels && c.taps == taps && c.out >= 1 && c.dilation >= 1 &&
               c.dilation <= kMostDilation,
           layer);
    channels = c.out;
  }
  void norm(const Affine& a, const std::string& layer) const {
    expect(a.scale.size() == static_cast<size_t>(channels), layer);
  }

  int64_t channels = 1;
};

void check_layer(const CampplusWeights::Layer& layer, SizeCheck& sizes, const std::string& name) {
  sizes.norm(layer.norm, name + " norm");
  SizeCheck inner = sizes;
  inner.pass(layer.bottleneck, 1, name + " bottleneck");
  SizeCheck gate = inner;
  inner.pass(layer.local, 3, name + " convolution");
  gate.pass(layer.squeeze, 1, name + " mask");
  gate.pass(layer.excite, 1, name + " mask");
  inner.expect(gate.channels == inner.channels, name + " mask");
  sizes.channels += inner.channels;
}

}  // namespace

Convolution read_convolution(const Checkpoint& tensors,
                             const std::string& weight,
                             const std::string& bias) {
  const Shape& shape = tensors.info(weight).shape;
  if (shape.rank() < 2 || shape.rank() > 4)
    fail(ErrorCode::data_loss,
         "{}: expected [out, in], and taps of one or two axes, got {}",
         weight,
         shape.text());
  Convolution out{.out = shape[0], .in = shape[1], .weights = {}, .bias = {}};
  for (int axis = 2; axis < shape.rank(); ++axis) out.taps *= shape[axis];
  out.weights = floats_of(tensors, weight);
  if (!bias.empty()) out.bias = floats_of(tensors, bias);
  if (!bias.empty() && static_cast<int64_t>(out.bias.size()) != out.out)
    fail(ErrorCode::data_loss, "{}: {} values for {} rows", bias, out.bias.size(), out.out);
  return out;
}

Affine read_batch_norm(const Checkpoint& tensors, const BatchNormNames& names) {
  const std::vector<float> mean = floats_of(tensors, names.mean),
                           variance = floats_of(tensors, names.variance);
  const std::vector<float> weight =
      names.weight.empty() ? std::vector<float>(mean.size(), 1) : floats_of(tensors, names.weight);
  const std::vector<float> bias =
      names.bias.empty() ? std::vector<float>(mean.size(), 0) : floats_of(tensors, names.bias);
  if (variance.size() != mean.size() || weight.size() != mean.size() || bias.size() != mean.size())
    fail(ErrorCode::data_loss, "{}: parts of a norm with several sizes", names.mean);
  Affine out;
  for (size_t i = 0; i < mean.size(); ++i) {
    const double scale = weight[i] / std::sqrt(variance[i] + names.eps);
    const double shift = bias[i] - mean[i] * scale;
    if (!std::isfinite(scale) || !std::isfinite(shift))
      fail(ErrorCode::data_loss, "{}: a norm that makes no numbers of channel {}", names.mean, i);
    out.scale.push_back(static_cast<float>(scale));
    out.shift.push_back(static_cast<float>(shift));
  }
  return out;
}

void melt(Convolution& c, const Affine& norm) {
  if (static_cast<int64_t>(norm.scale.size()) != c.out)
    fail(ErrorCode::data_loss,
         "speaker encoder: a norm of {} channels behind a convolution of {}",
         norm.scale.size(),
         c.out);
  c.bias.resize(static_cast<size_t>(c.out));
  const auto row = static_cast<size_t>(c.in * c.taps);
  for (size_t o = 0; o < norm.scale.size(); ++o) {
    for (size_t i = 0; i < row; ++i) c.weights[o * row + i] *= norm.scale[o];
    c.bias[o] = c.bias[o] * norm.scale[o] + norm.shift[o];
  }
}

void check_campplus(const CampplusWeights& w) {
  SizeCheck sizes;
  sizes.pass(w.head_in, 9, "head");
  for (const CampplusWeights::Residual& r : w.residuals) {
    SizeCheck past = sizes;
    sizes.pass(r.first, 9, "residual block");
    sizes.pass(r.second, 9, "residual block");
    if (r.shortcut.out > 0) past.pass(r.shortcut, 1, "shortcut");
    sizes.expect(past.channels == sizes.channels, "shortcut");
  }
  sizes.pass(w.head_out, 9, "head");
  sizes.expect(w.tdnn.in % sizes.channels == 0, "tdnn");
  sizes.channels = w.tdnn.in;  // of all bands
  sizes.pass(w.tdnn, 5, "tdnn");
  for (size_t b = 0; b < w.blocks.size(); ++b) {
    const std::string name = format("block{} ", b + 1);
    for (size_t i = 0; i < w.blocks[b].layers.size(); ++i)
      check_layer(w.blocks[b].layers[i], sizes, name + format("layer {}", i + 1));
    sizes.norm(w.blocks[b].norm, name + "transit");
    sizes.pass(w.blocks[b].transit, 1, name + "transit");
  }
  if (!w.out.scale.empty()) sizes.norm(w.out, "last norm");
  sizes.channels *= 2;  // mean and deviation
  sizes.pass(w.embedding, 1, "embedding");
}

CampplusWeights campplus_from_names(const Checkpoint& tensors) {
  const NamedLayers layers(tensors);
  CampplusWeights w;
  w.head_in = layers.normed("head.conv1", "head.bn1");
  for (const char* name : {"head.layer1.0", "head.layer1.1", "head.layer2.0", "head.layer2.1"})
    w.residuals.push_back(layers.residual(name));
  w.head_out = layers.normed("head.conv2", "head.bn2");
  w.tdnn = layers.normed("xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm");
  for (int64_t b = 1; b <= 3; ++b) {
    CampplusWeights::Block block;
    for (int64_t i = 1; i == 1 || layers.has(format("xvector.block{}.tdnnd{}.linear1", b, i)); ++i)
      block.layers.push_back(layers.layer(format("xvector.block{}.tdnnd{}", b, i), b == 1 ? 1 : 2));
    block.norm = layers.batch_norm(format("xvector.transit{}.nonlinear.batchnorm", b));
    block.transit = layers.convolution(format("xvector.transit{}.linear", b));
    w.blocks.push_back(std::move(block));
  }
  w.out = layers.batch_norm("xvector.out_nonlinear.batchnorm");
  w.embedding = layers.normed("xvector.dense.linear", "xvector.dense.nonlinear.batchnorm");
  check_campplus(w);
  return w;
}

}  // namespace quern
