// SPDX-License-Identifier: Apache-2.0
// Folding: scales move from a layer's inputs into its weights, and out of what makes these inputs.
//
//   norm -> q, k, v     v -> o     norm -> gate, up     up -> down
//   norm -> q_a, kv_a   norm of q -> q_b   norm of kv -> kv_b   (latent attention)
//   norm -> gate and up of every expert, shared ones and the router
//
// A consumer's columns are multiplied by s, its producer's outputs divided: nothing changes before
// rounding. What a norm or bias stores is rounded; s is then taken from what it became, so that the
// product stays exact. Where one s must fit several stored values (a router's columns, which stay
// floats, or the bias of a norm) it is a power of two, which fits them all: a router's logits keep
// every bit, and each token its experts. v has fewer outputs than o has inputs where heads share
// keys and values: all inputs that read one output of v share its s.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "quantize/int_layer.h"
#include "quantize/quantizer/input_statistics.h"
#include "quantize/quantizer/working_layer.h"

namespace quern {

// A producer and the linear layers that read what it makes.
struct FoldedPair {
  std::string producer;  // a norm ("model.layers.0.input_layernorm"), or a linear layer
  bool is_norm = false;
  std::vector<std::string> consumers;  // linear layers that are quantized
  std::string router;                  // a reader that is not; empty: none
  std::vector<int32_t> of_output;      // [K]: the producer's output behind each input
  int64_t outputs = 0;
  bool takes_powers = false;  // of two alone, as scales

  // A linear layer whose observed inputs are those of all of them.
  const std::string& seen_as() const { return router.empty() ? consumers.front() : router; }
  // scales [outputs] -> [K].
  std::vector<float> of_inputs(const std::vector<float>& scales) const;
};

// Each to the nearest power of two.
void round_to_powers(std::vector<float>& scales);

class ScaleFolding {
 public:
  // The scale of each output of a producer; 1 for one that never occurred.
  using Choose = FunctionRef<std::vector<float>(const FoldedPair&)>;

  struct Layer {
    std::string prefix;               // "model.layers.3."
    std::set<std::string> quantized;  // its linear layers
    // The type in which a tensor that is no quantized matrix is written.
    std::function<Stored(const std::string&)> stored;
  };

  // Both arguments must outlive it; weights and statistics are changed.
  ScaleFolding(WorkingLayer& layer, StatisticsObserver& seen) : layer_(layer), seen_(seen) {}

  // All pairs of a decoder layer but those inside of routed experts. A pair is left alone where a
  // linear layer of it is not among those that are quantized.
  void fold_layer(const Layer& l, Choose choose);
  // up -> down of the gated MLP at `mlp` ("model.layers.3.mlp.experts.7.").
  void fold_gated(const Layer& l, const std::string& mlp, Choose choose);

  // Tensors besides quantized matrices that changed, as they are to be written.
  std::vector<NamedTensor> take_changed() { return std::move(changed_); }

 private:
  void add(const Layer& l, FoldedPair pair, Choose choose);
  bool is_possible(const Layer& l, const FoldedPair& pair) const;
  bool find_outputs(FoldedPair& pair) const;
  void fold(const Layer& l, const FoldedPair& pair, std::vector<float> scales);
  void divide_vector(const Layer& l, const std::string& name, std::vector<float>& scales);
  void keep_exact(const Layer& l, const FoldedPair& pair, std::vector<float>& scales) const;
  std::vector<std::string> readers(const std::string& prefix,
                                   std::span<const std::string_view> names) const;
  std::vector<std::string> expert_readers(const std::string& mlp) const;

  WorkingLayer& layer_;
  StatisticsObserver& seen_;
  std::vector<NamedTensor> changed_;
};

}  // namespace quern
