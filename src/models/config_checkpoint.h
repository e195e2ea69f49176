// SPDX-License-Identifier: Apache-2.0
// For the tests of this room: a checkpoint that says something else of itself.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "nn/builder.h"

namespace quern {

class ConfigCheckpoint final : public Checkpoint {
 public:
  ConfigCheckpoint(std::shared_ptr<const Checkpoint> tensors, const Json& config)
      : tensors_(std::move(tensors)), config_(Config::parse(config.dump(), "config.json")) {}
  const TensorInfo* find(std::string_view name) const override { return tensors_->find(name); }
  std::vector<std::string> names() const override { return tensors_->names(); }
  std::span<const std::byte> bytes(std::string_view name) const override {
    return tensors_->bytes(name);
  }
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return tensors_->total_bytes(); }

 private:
  std::shared_ptr<const Checkpoint> tensors_;
  Config config_;
};

}  // namespace quern
