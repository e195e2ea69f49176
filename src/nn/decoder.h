// SPDX-License-Identifier: Apache-2.0
// The pre-norm decoder of Llama and its relatives: embedding, blocks, norm, output matrix. Touvron
// et al. 2023.
//   h += attention(norm(h));  h += mlp(norm(h))
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "nn/attention.h"
#include "nn/embedding.h"
#include "nn/latent_attention.h"
#include "nn/mlp.h"
#include "nn/model.h"
#include "nn/moe.h"
#include "nn/norm.h"
#include "nn/rope.h"

namespace quern {

// Classes of a classification head, as the reference counts them: `num_labels`, else the names of
// `id2label`, else 2.
int64_t count_labels(const Config& root);

// Which hidden_act a family's MLPs are carried with: silu alone, as all published checkpoints have,
// or whatever gate_op knows.
enum class Gates : uint8_t { silu, stated };

struct DecoderConfig {
  int64_t vocab = 0, hidden = 0, intermediate = 0, max_positions = 0;
  int layers = 0;
  double norm_eps = 0;
  NormKind norm = NormKind::rms;
  bool is_tied = false;  // without an output matrix, the embedding table serves as one
  int64_t labels = 0;    // rows of the classification head, where there is one
  AttentionConfig attention;
  GatedMlpOptions mlp = {};  // of layers without experts
  Bias head_bias = Bias::none;
  // Norms behind attention and MLP too, in front of their additions ("sandwich", GLM-4):
  // "post_self_attn_layernorm", "post_mlp_layernorm".
  bool has_sandwich_norms = false;
  bool is_gate_up_fused = false;  // one matrix "gate_up_proj"
  // Where set, attention is latent (and attention.sizes says how o_proj's columns fall into heads).
  std::optional<LatentConfig> latent;
  // Where set, some layers have experts; the others have an MLP of `intermediate`.
  std::optional<MoeConfig> moe;

  // The keys that all these families share; biases are the family's own business. Reads
  // `text_config` where newer saves nest it. `default_eps` holds where the config has no
  // rms_norm_eps. Throws data_loss or unsupported naming the key.
  static DecoderConfig from(const Config& root,
                            double default_eps = 1e-6,
                            Gates gates = Gates::silu);
  // The same without the keys of attention's sizes.
  static DecoderConfig without_heads(const Config& root,
                                     double default_eps = 1e-6,
                                     Gates gates = Gates::silu);
};

struct DecoderBlock {
  // b stands at layer `layer` of the model.
  DecoderBlock(const Builder& b, const DecoderConfig& c, int64_t layer);
  // h [T, D], updated in place; s: this step's batch, cache and angles; layer: of the cache
  void operator()(Ctx& ctx, Tensor& h, const Step& s, int layer) const;

  Norm attn_norm, mlp_norm;
  std::variant<Attention, LatentAttention> attn;
  std::variant<GatedMlp, Moe> mlp;
  std::optional<Norm> attn_out_norm, mlp_out_norm;
};

class Decoder {
 public:
  // b stands at the root: "model.embed_tokens", "model.layers.N", "model.norm", "lm_head" or
  // "score"; b.output() says which of them the rows come from.
  Decoder(const Builder& b, const DecoderConfig& config, Rope rope);

  const DecoderConfig& config() const { return config_; }
  // Of a text model; a media model adds its own.
  ModelInfo info(std::string_view architecture, std::string_view model_type) const;
  KvSpec kv_spec() const;
  // Model::forward: media rows replace embeddings; the probe sees "hidden". Later stages begin with
  // the hidden states of the one before; all but the last return nothing.
  Tensor operator()(Ctx& ctx, const Batch& batch, KvCache& kv, Probe* probe) const;

 private:
  Tensor embed(Ctx& ctx, const Batch& batch) const;
  Tensor rows_of(Ctx& ctx, const Tensor& normed) const;
  Tensor first_hidden(Ctx& ctx, const Batch& batch) const;
  bool is_last() const { return stage_.rank() + 1 == stage_.size(); }

  DecoderConfig config_;
  HeadLayout heads_;
  Rope rope_;
  Shard stage_;
  Range layers_;                        // of this stage
  std::optional<Embedding> embedding_;  // of the first stage
  std::vector<DecoderBlock> blocks_;
  Output output_;
  bool answers_;              // the first rank of the last stage
  std::optional<Norm> norm_;  // of the last stage, as is the head
  std::optional<LmHead> head_;
  std::optional<ScoreHead> score_;
};

}  // namespace quern
