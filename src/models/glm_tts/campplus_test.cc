// SPDX-License-Identifier: Apache-2.0
// The speaker encoder from both of its files, and from graphs that are written otherwise.
#include "models/glm_tts/campplus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "nn/owned_ctx.h"
#include "weights/onnx_file.h"

namespace quern {
namespace {

const std::string kCase = QUERN_SOURCE_DIR "/tests/golden/glm_tts_speaker/";

// The graph as an exporter writes it that melts nothing, over the names of the definition.
class PlainGraph {
 public:
  explicit PlainGraph(const Checkpoint& tensors) : tensors_(tensors) {
    std::string h = relu(convolution("x", "head.conv1", "head.bn1"));
    for (const char* name : {"head.layer1.0", "head.layer1.1", "head.layer2.0", "head.layer2.1"})
      h = residual(h, name);
    h = relu(convolution(h, "head.conv2", "head.bn2"));
    h = add("Reshape", {h, "shape"});
    h = relu(convolution(h, "xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm"));
    for (int b = 1; b <= 3; ++b) h = block(h, b);
    h = relu(norm(h, "xvector.out_nonlinear.batchnorm"));
    h = add("Concat", {add("ReduceMean", {h}), add("Sqrt", {h})});
    h = convolution(h, "xvector.dense.linear", "");
    norm(add("Squeeze", {h}), "xvector.dense.nonlinear.batchnorm");
  }
  std::vector<OnnxNode> nodes;

 private:
  std::string add(const std::string& op, std::vector<std::string> inputs) {
    OnnxNode node{.op = op,
                  .name = "",
                  .inputs = std::move(inputs),
                  .outputs = {},
                  .numbers = {},
                  .integers = {}};
    node.outputs = {"v" + std::to_string(nodes.size())};
    nodes.push_back(node);
    return node.outputs[0];
  }
  std::string relu(const std::string& x) { return add("Relu", {x}); }
  std::string norm(const std::string& x, const std::string& name) {
    const bool has_weight = tensors_.has(name + ".weight");
    return add("BatchNormalization",
               {x,
                has_weight ? name + ".weight" : "ones",
                has_weight ? name + ".bias" : "zeros",
                name + ".running_mean",
                name + ".running_var"});
  }
  std::string convolution(const std::string& x, const std::string& name, const std::string& bn) {
    std::vector<std::string> inputs = {x, name + ".weight"};
    if (tensors_.has(name + ".bias")) inputs.push_back(name + ".bias");
    const std::string y = add("Conv", std::move(inputs));
    return bn.empty() ? y : norm(y, bn);
  }
  std::string residual(const std::string& x, const std::string& name) {
    const std::string y = relu(convolution(x, name + ".conv1", name + ".bn1"));
    const bool is_cut = tensors_.has(name + ".shortcut.0.weight");
    const std::string side =
        is_cut ? convolution(x, name + ".shortcut.0", name + ".shortcut.1") : x;
    return relu(add("Add", {convolution(y, name + ".conv2", name + ".bn2"), side}));
  }
  std::string layer(const std::string& x, const std::string& name, int dilation) {
    const std::string cam = name + ".cam_layer.";
    const std::string y = relu(convolution(relu(norm(x, name + ".nonlinear1.batchnorm")),
                                           name + ".linear1",
                                           name + ".nonlinear2.batchnorm"));
    const std::string mask = add(
        "Sigmoid",
        {convolution(
            relu(convolution(add("ReduceMean", {y}), cam + "linear1", "")), cam + "linear2", "")});
    const std::string local = convolution(y, cam + "linear_local", "");
    nodes.back().integers["dilations"] = {dilation};
    return add("Concat", {x, add("Mul", {mask, local})});
  }
  std::string block(std::string h, int b) {
    for (int i = 1;; ++i) {
      const std::string name = format("xvector.block{}.tdnnd{}", b, i);
      if (!tensors_.has(name + ".linear1.weight")) break;
      h = layer(h, name, b == 1 ? 1 : 2);
    }
    const std::string name = format("xvector.transit{}", b);
    return convolution(relu(norm(h, name + ".nonlinear.batchnorm")), name + ".linear", "");
  }

  const Checkpoint& tensors_;
};

class SpeakerVector : public ::testing::Test {
 protected:
  std::vector<float> vector(const CampplusWeights& weights, const std::string& run = "a") {
    return SpeakerEncoder(ctx_.ctx(), weights)(ctx_.ctx(), fbank(run).span<float>());
  }
  Tensor fbank(const std::string& run) { return read_f32(*stored_, run + ".fbank"); }
  void expect_near(std::span<const float> got, std::span<const float> expected) {
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 2e-3) << i;
  }

  const std::unique_ptr<Checkpoint> tensors_ = open_checkpoint(kCase + "campplus.safetensors"),
                                    stored_ = open_checkpoint(kCase + "expected.safetensors");
  OwnedCtx ctx_{{.threads = 2, .isa = probe_topology().isa, .activation = Activation::bf16}};
};

TEST_F(SpeakerVector, IsTheReferencesFromBothFiles) {
  const OnnxFile file(kCase + "campplus.onnx");
  const CampplusWeights named = campplus_from_names(*tensors_),
                        found = campplus_from_graph(file, file.nodes());
  ASSERT_EQ(named.blocks.size(), 3u);
  EXPECT_EQ(named.blocks[1].layers.size(), 24u);
  for (const std::string run : {"a", "b"}) {
    const Tensor expected = read_f32(*stored_, run + ".embedding");
    expect_near(vector(named, run), expected.span<float>());
    expect_near(vector(found, run), expected.span<float>());
  }
}

TEST_F(SpeakerVector, NormsMayStandInTheGraph) {
  const PlainGraph graph(*tensors_);
  const Tensor expected = read_f32(*stored_, "a.embedding");
  expect_near(vector(campplus_from_graph(*tensors_, graph.nodes)), expected.span<float>());
}

TEST_F(SpeakerVector, HasTheSameBitsOnAnyNumberOfThreads) {
  const CampplusWeights weights = campplus_from_names(*tensors_);
  OwnedCtx one({.threads = 1, .isa = probe_topology().isa});
  EXPECT_EQ(vector(weights),
            SpeakerEncoder(one.ctx(), weights)(one.ctx(), fbank("a").span<float>()));
}

TEST_F(SpeakerVector, ShortAndMisshapenFramesAreRefused) {
  const SpeakerEncoder encoder(ctx_.ctx(), campplus_from_names(*tensors_));
  EXPECT_EQ(encoder.size(), 192);
  EXPECT_EQ(encoder.bands(), 80);
  const std::vector<float> frames(80 * 3, 0.5f);
  EXPECT_EQ(encoder(ctx_.ctx(), frames).size(), 192u);
  EXPECT_THROW(encoder(ctx_.ctx(), std::span(frames).first(160)), Error);
  EXPECT_THROW(encoder(ctx_.ctx(), std::span(frames).first(239)), Error);
  EXPECT_THROW(encoder(ctx_.ctx(), {}), Error);
}

// Whatever is missing or crossed: an Error, or another network that fits together.
TEST_F(SpeakerVector, DamagedGraphsAreRefused) {
  const PlainGraph whole(*tensors_);
  const auto is_refused = [&](const std::vector<OnnxNode>& nodes) {
    try {
      campplus_from_graph(*tensors_, nodes);
    } catch (const Error&) {
      return true;
    }
    return false;
  };
  EXPECT_TRUE(is_refused({}));
  int refused = 0;
  const size_t count = whole.nodes.size();
  constexpr size_t kStep = 29;
  for (size_t i = 0; i < count; i += kStep) {
    std::vector<OnnxNode> nodes = whole.nodes;
    nodes.erase(nodes.begin() + static_cast<int64_t>(i));
    refused += is_refused(nodes);
    nodes = whole.nodes;
    nodes[i].inputs.resize(1);
    is_refused(nodes);
    nodes[i].outputs.clear();
    is_refused(nodes);
    nodes = whole.nodes;
    std::swap(nodes[i].inputs, nodes[(i + 7) % count].inputs);
    is_refused(nodes);
    nodes = whole.nodes;
    nodes[i].outputs = nodes[0].inputs;  // a circle
    is_refused(nodes);
  }
  EXPECT_GT(refused, static_cast<int>(count / kStep * 9 / 10));
  std::vector<OnnxNode> nodes = whole.nodes;
  nodes[0].numbers["group"] = 2;
  EXPECT_TRUE(is_refused(nodes));
}

TEST_F(SpeakerVector, SizesMustFitTogether) {
  const CampplusWeights whole = campplus_from_names(*tensors_);
  const auto is_refused = [&](auto&& change) {
    CampplusWeights weights = whole;
    change(weights);
    try {
      check_campplus(weights);
    } catch (const Error& error) {
      return error.code() == ErrorCode::data_loss;
    }
    return false;
  };
  EXPECT_FALSE(is_refused([](CampplusWeights&) {}));
  EXPECT_TRUE(is_refused([](CampplusWeights& w) { w.blocks[1].layers.pop_back(); }));
  EXPECT_TRUE(is_refused([](CampplusWeights& w) {
    w.residuals[0].shortcut.out = 0;
    w.residuals[0].first.in = 7;
  }));
  EXPECT_TRUE(is_refused([](CampplusWeights& w) { w.tdnn.taps = 3; }));
  EXPECT_TRUE(is_refused([](CampplusWeights& w) { w.blocks[0].layers[3].local.dilation = 0; }));
  EXPECT_TRUE(is_refused([](CampplusWeights& w) { w.embedding.in -= 1; }));
  EXPECT_TRUE(is_refused([](CampplusWeights& w) { w.out.scale.pop_back(); }));
}

}  // namespace
}  // namespace quern
