// SPDX-License-Identifier: Apache-2.0
#include "weights/with_config.h"

namespace quern {
namespace {

class WithConfig final : public Checkpoint {
 public:
  WithConfig(std::shared_ptr<const Checkpoint> tensors, Config config)
      : tensors_(std::move(tensors)), config_(std::move(config)) {}

  const TensorInfo* find(std::string_view name) const override { return tensors_->find(name); }
  std::vector<std::string> names() const override { return tensors_->names(); }
  std::span<const std::byte> bytes(std::string_view name) const override {
    return tensors_->bytes(name);
  }
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return tensors_->total_bytes(); }
  void read_ahead(std::string_view prefix) const override { tensors_->read_ahead(prefix); }
  void give_back(std::string_view prefix) const override { tensors_->give_back(prefix); }

 private:
  std::shared_ptr<const Checkpoint> tensors_;
  Config config_;
};

}  // namespace

std::unique_ptr<Checkpoint> with_config(std::shared_ptr<const Checkpoint> tensors, Config config) {
  return std::make_unique<WithConfig>(std::move(tensors), std::move(config));
}

}  // namespace quern
