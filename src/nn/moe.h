// SPDX-License-Identifier: Apache-2.0
// Mixture of experts: each token goes to a few of many small feed-forward layers. Shazeer et al.
// 2017; DeepSeekMoE, 2024 (many small experts, one that all tokens share).
//
//   y = Σ w_e down_e(silu(gate_e x) * up_e x) over the chosen e  +  shared(x)
//
// Experts run one after the other, each over the tokens that chose it; a token's sum is taken in
// the order of its experts. So its bits depend on itself alone, whoever else is in the step, and
// whether an expert lay in memory or in the file.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/builder.h"
#include "nn/expert_memory.h"
#include "nn/step.h"
#include "ops/routing.h"

namespace quern {

struct MoeConfig {
  int64_t hidden = 0;        // D
  int64_t intermediate = 0;  // F of an expert
  int64_t experts = 0;       // X
  int64_t shared = 0;        // experts that all tokens share, as one layer of shared * F; 0: none
  bool has_correction_bias = false;  // "gate.e_score_correction_bias" [X]
  ops::RoutingRule rule;
  // Layers from first_layer on, each layer_step-th (counted from 0), have experts.
  int64_t first_layer = 0, layer_step = 1;

  bool holds_at(int64_t layer) const { return layer >= first_layer && layer % layer_step == 0; }
  // The keys that DeepSeek-V3 and GLM-4.5 share: n_routed_experts, n_shared_experts,
  // num_experts_per_tok, moe_intermediate_size, n_group, topk_group, norm_topk_prob,
  // routed_scaling_factor, first_k_dense_replace, moe_layer_freq. Scores are sigmoids with a
  // correction bias. Throws data_loss or unsupported naming the key.
  static MoeConfig noaux_tc(const Config& text, int64_t hidden);
};

// What the builder's options ask for; by default inside where that is even enough, else whole where
// there are enough experts. `granule`: units that stay together inside.
ExpertSplit choose_expert_split(const Builder& b, const MoeConfig& c, int64_t granule);

// This rank's part of the routed experts: in memory, or in the file until they are chosen (see
// BuilderOptions::expert_memory_bytes).
class Experts {
 public:
  // b stands at "experts": N.gate_proj, N.up_proj, N.down_proj.
  Experts(const Builder& b, const MoeConfig& config);
  // y [T, D] += this rank's part of every token's experts. Throws what loading throws where experts
  // lie in the file.
  void add_to(Ctx& ctx, Tensor& y, const Tensor& x, const ops::Routing& routing) const;

 private:
  Expert load(const Builder& b, int64_t e) const;
  void hold_all();
  void hold_one_for_all();
  void leave_in_file();
  void note_form(const Expert& e, std::map<std::string, size_t>& seen);
  std::shared_ptr<const Expert> take(Ctx& ctx, int64_t e) const;
  void read_ahead(int64_t e) const;
  Tensor run(Ctx& ctx, const Expert& e, const Tensor& x) const;
  void reserve(Ctx& ctx, const Tensor& x) const;

  Builder source_;  // its ctx is the one of loading: not for later
  MoeConfig config_;
  bool is_whole_;                                    // experts are dealt out, not cut
  Range range_;                                      // of the experts
  std::vector<std::shared_ptr<const Expert>> held_;  // of the range; empty: they lie in the file
  std::vector<Expert> forms_;                        // an expert of each form of weights
  std::shared_ptr<ExpertMemory> memory_;             // of those that lie in the file
  int64_t layer_ = 0, most_bytes_ = 0;               // there: this layer, and its largest expert
};

class Moe {
 public:
  // b stands at "mlp": "gate.weight" [X, D], experts, shared_experts. `layer`: for who looks on.
  Moe(const Builder& b, const MoeConfig& config, int64_t layer);

  // x [T, D] -> [T, D]. The step's probe sees "router_ids" and "router_weights", [T, k] as float32.
  Tensor operator()(Ctx& ctx, const Tensor& x, const Step& s) const;

 private:
  ops::Routing route(Ctx& ctx, const Tensor& x) const;
  // This rank's part of the shared layer; zero where there is none.
  Tensor shared_part(Ctx& ctx, const Tensor& x) const;

  ops::RoutingRule rule_;
  int64_t layer_;
  Shard shard_;
  Linear gate_;
  Tensor bias_;
  Experts experts_;
  std::optional<Linear> shared_gate_up_, shared_down_;
};

}  // namespace quern
