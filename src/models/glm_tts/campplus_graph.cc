// SPDX-License-Identifier: Apache-2.0
// CAM++ as exporters write it: a graph of operations, in which a layer is known by what it reads.
// The way through it, a value at a time:
//
//   Conv Relu, 4 x (Conv Relu Conv, + the input or a Conv of it, Relu), Conv Relu, Reshape, Conv
//   Relu 3 x:  while what is there is also concatenated:  a layer
//           BatchNormalization Relu Conv Relu, Conv x Sigmoid(Conv Relu Conv of its means), Concat
//         BatchNormalization Relu Conv
//   Relu, mean and deviation, Conv
//
// with a BatchNormalization behind any Conv that nobody else reads, or melted into it already.
#include <map>
#include <string>

#include "base/error.h"
#include "models/glm_tts/campplus_weights.h"
#include "weights/onnx_file.h"

namespace quern {
namespace {

using Convolution = CampplusWeights::Convolution;

constexpr size_t kMostLayers = 256;  // of a block

class GraphWalk {
 public:
  GraphWalk(const Checkpoint& initializers, std::span<const OnnxNode> nodes)
      : tensors_(initializers) {
    for (const OnnxNode& node : nodes) {
      for (const std::string& name : node.inputs) readers_[name].push_back(&node);
      for (const std::string& name : node.outputs) makers_[name] = &node;
      if (node.op != "Conv") continue;
      if (first_ == nullptr) first_ = &node;
      last_ = &node;
    }
    if (first_ == nullptr) lost("a Conv", "the graph");
  }

  const OnnxNode& first_convolution() const { return *first_; }
  const OnnxNode& last_convolution() const { return *last_; }

  // The one operation of this kind that reads `value`; null: there is none, or several.
  const OnnxNode* reader(const std::string& value, std::string_view op) const {
    const auto found = readers_.find(value);
    const OnnxNode* one = nullptr;
    if (found == readers_.end()) return nullptr;
    for (const OnnxNode* node : found->second)
      if (node->op == op && std::exchange(one, node) != nullptr) return nullptr;
    return one;
  }
  // What it makes of `value`.
  const std::string& behind(const std::string& value, std::string_view op) const {
    const OnnxNode* node = reader(value, op);
    if (node == nullptr || node->outputs.empty()) lost(op, value);
    return node->outputs[0];
  }
  // The operation of this kind that made `value`.
  const OnnxNode& maker(const std::string& value, std::string_view op) const {
    const auto found = makers_.find(value);
    if (found == makers_.end() || found->second->op != op || found->second->inputs.empty())
      lost(op, value);
    return *found->second;
  }
  // The Conv that reads `value` and has so many taps; null: there is none.
  const OnnxNode* find_convolution(const std::string& value, int64_t taps) const {
    const auto found = readers_.find(value);
    if (found == readers_.end()) return nullptr;
    for (const OnnxNode* node : found->second)
      if (node->op == "Conv" && taps_of(*node) == taps) return node;
    return nullptr;
  }
  const OnnxNode& convolution_at(const std::string& value, int64_t taps) const {
    const OnnxNode* node = find_convolution(value, taps);
    if (node == nullptr) lost(format("a Conv of {} taps", taps), value);
    return *node;
  }

  // The weights of a Conv, with the norm that follows it; `value` becomes what comes out.
  Convolution take(const OnnxNode& node, std::string& value) const {
    if (node.inputs.size() < 2 || node.outputs.empty()) lost("weights", node.name);
    if (const auto group = node.numbers.find("group");
        group != node.numbers.end() && group->second != 1)
      fail(ErrorCode::unsupported, "speaker encoder: {}: groups of channels", node.name);
    Convolution out = read_convolution(
        tensors_, node.inputs[1], node.inputs.size() > 2 ? node.inputs[2] : std::string());
    if (const auto dilations = node.integers.find("dilations");
        dilations != node.integers.end() && !dilations->second.empty())
      out.dilation = dilations->second.back();
    value = node.outputs[0];
    if (const OnnxNode* norm = only_reader(value, "BatchNormalization")) {
      melt(out, norm_of(*norm));
      value = norm->outputs.at(0);
    }
    return out;
  }
  CampplusWeights::Affine take_norm(std::string& value) const {
    const OnnxNode* node = reader(value, "BatchNormalization");
    if (node == nullptr || node->outputs.empty()) lost("a BatchNormalization", value);
    value = node->outputs[0];
    return norm_of(*node);
  }
  // As reader(), where nobody else reads `value`.
  const OnnxNode* only_reader(const std::string& value, std::string_view op) const {
    const auto found = readers_.find(value);
    const bool is_alone = found != readers_.end() && found->second.size() == 1;
    return is_alone && !found->second[0]->outputs.empty() ? reader(value, op) : nullptr;
  }

  [[noreturn]] static void lost(std::string_view wanted, std::string_view at) {
    fail(ErrorCode::data_loss,
         "speaker encoder: expected {} at {}: the graph is none of CAM++",
         wanted,
         at);
  }

 private:
  int64_t taps_of(const OnnxNode& node) const {
    const TensorInfo* info = node.inputs.size() > 1 ? tensors_.find(node.inputs[1]) : nullptr;
    int64_t taps = 1;
    for (int axis = 2; info != nullptr && axis < info->shape.rank(); ++axis)
      taps *= info->shape[axis];
    return info != nullptr ? taps : 0;
  }
  // The last norm has no parameters of its own: an exporter writes ones and zeros as constants.
  CampplusWeights::Affine norm_of(const OnnxNode& node) const {
    if (node.inputs.size() != 5) lost("five inputs", node.name);
    const auto eps = node.numbers.find("epsilon");
    const auto stored = [&](const std::string& name) {
      return tensors_.has(name) ? name : std::string();
    };
    return read_batch_norm(tensors_,
                           {.weight = stored(node.inputs[1]),
                            .bias = stored(node.inputs[2]),
                            .mean = node.inputs[3],
                            .variance = node.inputs[4],
                            .eps = eps != node.numbers.end() ? eps->second : 1e-5});
  }

  const Checkpoint& tensors_;
  std::map<std::string, std::vector<const OnnxNode*>, std::less<>> readers_;
  std::map<std::string, const OnnxNode*, std::less<>> makers_;
  const OnnxNode *first_ = nullptr, *last_ = nullptr;
};

CampplusWeights::Residual take_residual(const GraphWalk& graph, std::string& value) {
  CampplusWeights::Residual out;
  std::string side;
  if (const OnnxNode* shortcut = graph.find_convolution(value, 1))
    out.shortcut = graph.take(*shortcut, side);
  out.first = graph.take(graph.convolution_at(value, 9), value);
  value = graph.behind(value, "Relu");
  out.second = graph.take(graph.convolution_at(value, 9), value);
  value = graph.behind(graph.behind(value, "Add"), "Relu");
  return out;
}

CampplusWeights::Layer take_layer(const GraphWalk& graph, std::string& value) {
  CampplusWeights::Layer out;
  out.norm = graph.take_norm(value);
  value = graph.behind(value, "Relu");
  out.bottleneck = graph.take(graph.convolution_at(value, 1), value);
  value = graph.behind(value, "Relu");
  out.local = graph.take(graph.convolution_at(value, 3), value);
  const OnnxNode* masked = graph.reader(value, "Mul");
  if (masked == nullptr || masked->inputs.size() != 2) GraphWalk::lost("a mask", value);
  const std::string& mask = masked->inputs[masked->inputs[0] == value ? 1 : 0];
  const OnnxNode& excite = graph.maker(graph.maker(mask, "Sigmoid").inputs[0], "Conv");
  const OnnxNode& squeeze = graph.maker(graph.maker(excite.inputs[0], "Relu").inputs[0], "Conv");
  std::string inside;
  out.excite = graph.take(excite, inside);
  out.squeeze = graph.take(squeeze, inside);
  value = masked->outputs.at(0);
  return out;
}

CampplusWeights::Block take_block(const GraphWalk& graph, std::string& value) {
  CampplusWeights::Block out;
  for (;;) {
    const OnnxNode* joined = graph.reader(value, "Concat");
    if (joined == nullptr || joined->inputs.size() != 2) break;
    if (out.layers.size() == kMostLayers) GraphWalk::lost("a block's end", value);
    out.layers.push_back(take_layer(graph, value));
    if (graph.reader(value, "Concat") != joined) GraphWalk::lost("a layer's end", value);
    value = joined->outputs.at(0);
  }
  out.norm = graph.take_norm(value);
  value = graph.behind(value, "Relu");
  out.transit = graph.take(graph.convolution_at(value, 1), value);
  return out;
}

}  // namespace

CampplusWeights campplus_from_graph(const Checkpoint& initializers,
                                    std::span<const OnnxNode> nodes) {
  const GraphWalk graph(initializers, nodes);
  CampplusWeights w;
  std::string value;
  w.head_in = graph.take(graph.first_convolution(), value);
  value = graph.behind(value, "Relu");
  for (int i = 0; i < 4; ++i) w.residuals.push_back(take_residual(graph, value));
  w.head_out = graph.take(graph.convolution_at(value, 9), value);
  value = graph.behind(graph.behind(value, "Relu"), "Reshape");
  w.tdnn = graph.take(graph.convolution_at(value, 5), value);
  value = graph.behind(value, "Relu");
  for (int b = 0; b < 3; ++b) w.blocks.push_back(take_block(graph, value));
  graph.behind(value, "Relu");  // the last norm is melted into the last transit
  w.embedding = graph.take(graph.last_convolution(), value);
  if (const OnnxNode* squeezed = graph.only_reader(value, "Squeeze")) {
    value = squeezed->outputs[0];
    if (graph.reader(value, "BatchNormalization") != nullptr)
      melt(w.embedding, graph.take_norm(value));
  }
  check_campplus(w);
  return w;
}

}  // namespace quern
