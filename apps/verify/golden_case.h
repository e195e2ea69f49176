// SPDX-License-Identifier: Apache-2.0
// GoldenCase: one folder of stored reference numbers, laid out as tests/golden/README.md says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tensor/tensor.h"
#include "weights/checkpoint.h"

namespace quern {

class GoldenCase {
 public:
  // Reads expected.json, and expected.safetensors where there is one. Throws not_found, data_loss
  // or unsupported (another format number).
  explicit GoldenCase(std::string folder);

  const std::string& folder() const { return folder_; }
  std::string file(std::string_view name) const { return folder_ + "/" + std::string(name); }
  const Json& expected() const { return *expected_; }
  std::string kind() const;

  // Stored tensors by full name.
  bool has(std::string_view name) const { return tensors_ != nullptr && tensors_->has(name); }
  std::vector<std::string> names() const;
  Tensor tensor(std::string_view name) const;  // as stored
  Tensor floats(std::string_view name) const;  // as float32
  std::vector<int64_t> integers(std::string_view name) const;

  // The rows of a .jsonl file, each at most 16 MB. Throws data_loss naming the line.
  std::vector<Json> rows(std::string_view file) const;

 private:
  std::string folder_;
  std::shared_ptr<const Json> expected_;
  std::unique_ptr<Checkpoint> tensors_;
};

}  // namespace quern
