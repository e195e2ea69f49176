// SPDX-License-Identifier: Apache-2.0
// Calibration: the hidden states of a set of texts, flowing through one decoder layer at a time,
// and what is remembered of the inputs of its linear layers.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/linear.h"
#include "nn/owned_ctx.h"
#include "ops/matmul.h"
#include "weights/checkpoint.h"

namespace quern {

// weights [N, K] float32 for the engine's products.
std::unique_ptr<ops::PackedWeight> packed_floats(const Ctx& ctx, const Tensor& weights);
// The sum of e gram e' over the rows e of `errors` [N, K]: what they do to a layer's outputs.
double gram_loss(Ctx& ctx, const Tensor& errors, const ops::PackedWeight& gram);

// What one linear layer's inputs x [T, K] were like.
struct InputStatistics {
  Tensor gram;                     // [K, K] float32: the sum of x' x
  std::vector<double> magnitudes;  // [K]: the sum of |x|
  int64_t rows = 0;                // T

  std::vector<float> diagonal() const;
};

// Of all linear layers that are run, by the path of the first matrix of each product. Sums are
// formed in the order in which texts are run, each by the engine's own products: the same bits for
// any number of threads.
class StatisticsObserver final : public LinearObserver {
 public:
  explicit StatisticsObserver(Ctx& ctx) : ctx_(ctx) {}
  void saw(std::string_view path, const Tensor& x) override;
  // Throws internal for a layer that was not run.
  const InputStatistics& of(const std::string& path) const;
  // As if each input k had been divided by scales[k].
  void divide(const std::string& path, const std::vector<float>& scales);

 private:
  Ctx& ctx_;
  std::map<std::string, InputStatistics, std::less<>> seen_;
};

// One decoder layer (and what stands before the first) with weights in memory, over a checkpoint
// that has the rest.
class WorkingLayer final : public Checkpoint {
 public:
  WorkingLayer(std::shared_ptr<const Checkpoint> rest, Config config)
      : rest_(std::move(rest)), config_(std::move(config)) {}

  // float32; stands before what `rest` has of that name.
  void set(const std::string& name, const Tensor& values);
  const Tensor& at(const std::string& name) const;

  const TensorInfo* find(std::string_view name) const override;
  std::vector<std::string> names() const override;
  std::span<const std::byte> bytes(std::string_view name) const override;
  const Config& config() const override { return config_; }
  int64_t total_bytes() const override { return rest_->total_bytes(); }

 private:
  struct Entry {
    TensorInfo info;
    Tensor values;
  };
  std::shared_ptr<const Checkpoint> rest_;
  Config config_;
  std::map<std::string, Entry, std::less<>> entries_;
};

class CalibrationStream {
 public:
  // `layers` of the model. Both arguments must outlive it.
  CalibrationStream(Ctx& ctx, const std::vector<std::vector<int32_t>>& sequences, int layers);

  // The layer whose input the states are.
  int layer() const { return layer_; }
  // Runs that layer by `checkpoint`: everything that its linear layers read goes to `observer`.
  void observe(const std::shared_ptr<const Checkpoint>& checkpoint, LinearObserver& observer);
  // Runs it, and steps behind it.
  void advance(const std::shared_ptr<const Checkpoint>& checkpoint);
  // [T, D] of each sequence, before that layer; empty before the first.
  const std::vector<std::vector<float>>& states() const { return states_; }
  // Bytes of them.
  static int64_t bytes(const std::vector<std::vector<int32_t>>& sequences, int64_t hidden);

 private:
  class Tape;
  void run(const std::shared_ptr<const Checkpoint>& checkpoint,
           LinearObserver* observer,
           bool keeps);

  Ctx ctx_;
  const std::vector<std::vector<int32_t>>& sequences_;
  int layers_, layer_ = 0;
  std::vector<std::vector<float>> states_;  // [T, D] of each sequence; empty before layer 0
};

}  // namespace quern
