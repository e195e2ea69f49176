// SPDX-License-Identifier: Apache-2.0
// LatentAttention: multi-head latent attention (MLA). DeepSeek-V2, 2024; DeepSeek-V3, 2024.
//
//   q = Wqb norm(Wqa x), per head [nope | rope];  c = norm(Wkv x), r = rope(Wkr x), one for all
//   heads k = [Wuk c | r],  v = Wuv c,  y = Wo softmax(s q k) v
//
// What is kept of a token is (r, c) alone. Wuk and Wuv are moved to the other side of the softmax:
// q' = [rope(q_rope) | Wukᵀ q_nope] meets (r, c) itself, and Wuv follows. Prompts and single tokens
// take this one form, so a position has the same bits either way.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/builder.h"
#include "nn/norm.h"
#include "nn/step.h"

namespace quern {

struct LatentConfig {
  int64_t hidden = 0;                     // D
  int64_t heads = 0;                      // H
  int64_t q_rank = 0;                     // 0: queries come straight from x
  int64_t kv_rank = 0;                    // of c
  int64_t nope = 0, rope = 0, value = 0;  // of a head: plain and rotated part of q, and v
  Bias bias = Bias::none;                 // of q_a_proj, kv_a_proj_with_mqa and o_proj
  ops::RopeStyle rope_style = ops::RopeStyle::interleaved;
  double scale = 1;  // of scores

  int64_t row() const { return rope + kv_rank; }  // elements of a token in the cache
};

class LatentAttention {
 public:
  // b stands at "self_attn": q_a_proj, q_a_layernorm, q_b_proj (or q_proj), kv_a_proj_with_mqa,
  // kv_a_layernorm, kv_b_proj, o_proj. Ranks share the heads; each keeps the whole latent cache.
  LatentAttention(const Builder& b, const LatentConfig& config);

  // x [T, D] -> [T, D]; writes every token's row into `layer` of the cache.
  Tensor operator()(Ctx& ctx, const Tensor& x, const Step& s, int layer) const;

 private:
  // [T, H (nope + rope)] from x, or from what `down` made of it.
  Tensor queries(Ctx& ctx, const Tensor& x, const Tensor& down) const;
  void store(Ctx& ctx, const Tensor& down, const Step& s, PagedKv& kv) const;

  LatentConfig c_;
  Range heads_;  // of this rank
  Linear down_;  // [q_rank | kv_rank | rope]
  std::optional<RmsNorm> q_norm_;
  Linear q_;
  RmsNorm kv_norm_;
  std::vector<std::unique_ptr<ops::PackedWeight>> keys_, values_;  // Wukᵀ and Wuv of each head
  // Sees what kv_b_proj reads, as if it were a layer of its own; null: nobody looks on.
  LinearObserver* observer_;
  std::string kv_b_path_;
  Linear out_;
};

}  // namespace quern
