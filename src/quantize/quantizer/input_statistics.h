// SPDX-License-Identifier: Apache-2.0
// What is remembered of the inputs of linear layers while calibration texts run through them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/linear.h"
#include "nn/model.h"
#include "ops/matmul.h"

namespace quern {

// weights [N, K] float32 for the engine's products.
std::unique_ptr<ops::PackedWeight> packed_floats(const Ctx& ctx, const Tensor& weights);
// The outputs of a layer that errors are judged by: every one, or 2,048 evenly spaced where there
// are more (of those that are not zero, as padding's are). An error is a mean over tens of
// thousands of terms for each of them: so many say it, at a fraction of the products that a 72B's
// would take.
std::vector<int64_t> judged_outputs(const Tensor& weights);  // of [N, K]
Tensor rows_at(const Tensor& matrix, std::span<const int64_t> rows);
// The sum of e gram e' over the rows e of `errors` [N, K]: what they do to a layer's outputs.
double gram_loss(Ctx& ctx, const Tensor& errors, const ops::PackedWeight& gram);

// "model.layers.1.mlp.experts.7.up_proj" → 7; nullopt for what is no part of a routed expert.
std::optional<int64_t> routed_expert_of(std::string_view name);

// What one linear layer's inputs x [T, K] were like.
struct InputStatistics {
  Tensor gram;                     // [K, K] float32: the sum of x' x
  std::vector<double> magnitudes;  // [K]: the sum of |x|
  std::vector<float> maxima;       // [K]: the largest |x|
  int64_t rows = 0;                // T

  void add(Ctx& ctx, const Tensor& x, bool has_gram = true);
  std::vector<float> diagonal() const;
};

// Of all linear layers of the decoder that are run, by the path of the first matrix of each
// product. Sums are formed in the order in which texts are run, each by the engine's own products:
// the same bits for any number of threads.
//
// Where tokens choose experts, what the router reads is kept, with their choices (it must be the
// model's probe too): a gram matrix for each expert would take more room than the layer.
class StatisticsObserver final : public LinearObserver, public Probe {
 public:
  enum class Experts : uint8_t { by_router, alone };  // alone: one expert is run by itself
  explicit StatisticsObserver(Ctx& ctx, Experts experts = Experts::by_router)
      : ctx_(ctx), experts_(experts) {}
  void saw(std::string_view path, const Tensor& x) override;
  void record(std::string_view name, int layer, const Tensor& value) override;

  // The path under which the inputs of a linear layer were seen: it shares them with the first of
  // its stack ("….k_proj" with "….q_proj").
  std::string path_of(const std::string& name) const;
  bool has(const std::string& name) const { return seen_.contains(path_of(name)); }
  // Of a linear layer. Throws internal for one that was not run.
  const InputStatistics& of(const std::string& name) const;
  // What the tokens that chose an expert gave it, [T, D], in their order.
  Tensor rows_of(int64_t expert) const;
  // As if each input k had been divided by scales[k].
  void divide(const std::string& name, const std::vector<float>& scales);

 private:
  Ctx& ctx_;
  Experts experts_;
  std::map<std::string, InputStatistics, std::less<>> seen_;
  std::vector<float> routed_;    // [T, D]: what the router read
  int64_t width_ = 0;            // D
  std::vector<int32_t> chosen_;  // [T, k]
  int64_t choices_ = 0;          // k
};

}  // namespace quern
