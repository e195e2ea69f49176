// SPDX-License-Identifier: Apache-2.0
// WorkingLayer: one decoder layer (and what stands before the first) with weights in memory, over a
// checkpoint that has the rest.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "weights/checkpoint.h"

namespace quern {

class WorkingLayer final : public Checkpoint {
 public:
  using Load = std::function<Tensor()>;

  WorkingLayer(std::shared_ptr<const Checkpoint> rest, Config config)
      : rest_(std::move(rest)), config_(std::move(config)) {}

  // float32; stands before what `rest` has of that name.
  void set(const std::string& name, const Tensor& values);
  // The same of a tensor that is read whenever it is wanted: of all experts of a layer only a few
  // are in memory.
  void set_lazy(const std::string& name, const Shape& shape, Load load);
  // Changes what at() gives, now or whenever it is read.
  void change(const std::string& name, std::function<Tensor(const Tensor&)> how);
  // Throws not_found for what was not set.
  Tensor at(const std::string& name) const;

  const TensorInfo* find(std::string_view name) const override;
  std::vector<std::string> names() const override;
  // Of a lazy tensor valid until kRecent others were asked for.
  std::span<const std::byte> bytes(std::string_view name) const override;
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return rest_->total_bytes(); }

  static constexpr size_t kRecent = 6;  // the matrices of two experts

 private:
  struct Entry {
    TensorInfo info;
    Tensor values;  // undefined: `load` has them
    Load load;
  };
  void forget(const std::string& name);

  std::shared_ptr<const Checkpoint> rest_;
  Config config_;
  std::map<std::string, Entry, std::less<>> entries_;
  mutable std::mutex mutex_;  // of recent_: a model is loaded by several threads
  mutable std::deque<std::pair<std::string, Tensor>> recent_;
};

}  // namespace quern
