// SPDX-License-Identifier: Apache-2.0
// OnnxFile: the initializers of an .onnx file as a checkpoint, and its nodes, so that a caller can
// find the layer that an initializer without a name of its own ("onnx::Conv_4372") belongs to.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"

namespace quern {

// One operation of the graph. An omitted optional input is an empty name.
struct OnnxNode {
  std::string op;    // "Conv"
  std::string name;  // "/head/conv1/Conv"; empty where the exporter wrote none
  std::vector<std::string> inputs, outputs;
  std::map<std::string, double> numbers;                 // attributes that are one number
  std::map<std::string, std::vector<int64_t>> integers;  // attributes that are lists of integers
};

class OnnxFile final : public Checkpoint {
 public:
  // Maps the file and checks all of it that is kept: every length, count and size lies within the
  // file, else data_loss. Throws unsupported for weights in files of their own (external data) and
  // for element types without a name in Stored.
  explicit OnnxFile(const std::string& path);

  // The operations of the main graph in its order; those inside of an attribute (the branches of an
  // If) are left out.
  const std::vector<OnnxNode>& nodes() const { return nodes_; }

  // The initializers, under their names as stored; config() is empty.
  const TensorInfo* find(std::string_view name) const override;
  std::vector<std::string> names() const override;
  std::span<const std::byte> bytes(std::string_view name) const override;
  const Config& config() const override;
  int64_t total_bytes() const override;

 private:
  std::vector<OnnxNode> nodes_;
  std::unique_ptr<const Checkpoint> tensors_;
};

}  // namespace quern
