// SPDX-License-Identifier: Apache-2.0
// Spark-Formalizer-X1-7B and its siblings of model_type "spark" (iFlytek). arXiv 2511.13043,
// "Spark- Prover-X1". No reference implementation could be read: what follows is the layout that
// its config, its tensors and its kin allow (docs/models/spark.md), and no checkpoint has been
// seen.
//
//   h = embedding[ids]
//   per layer:  h += Wo attention(rope(Wq n), rope(Wk n), Wv n),  n = norm(h)
//               h += Wdown (act(Wgate n) * Wup n),                n = norm(h)
//   logits = Whead norm(h)
//
// What differs between the family's files is read from them: biases, and whether norms are RMS
// norms or layer norms, from the tensors; act, the rotary style and all sizes from config.json.
// Tensors come under Llama's names, and keys in Llama's spelling, whatever the file has
// (weights/renamed_checkpoint.h, weights/config_aliases.h); what nothing states is refused.
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "models/families.h"
#include "nn/decoder_model.h"

namespace quern {
namespace {

// Keys that change the sums above, and the value that leaves them as they are.
struct NeutralKey {
  const char* key;
  const char* neutral;  // JSON
};
constexpr NeutralKey kNeutral[] = {{"apply_residual_connection_post_layernorm", "false"},
                                   {"use_parallel_residual", "false"},
                                   {"parallel_attn", "false"},
                                   {"use_qk_norm", "false"},
                                   {"qk_layernorm", "false"},
                                   {"use_sliding_window", "false"},
                                   {"head_wise_gate", "false"},
                                   {"partial_rotary_factor", "1"},
                                   {"rotary_pct", "1"},
                                   {"rope_ratio", "1"},
                                   {"scale_emb", "1"},
                                   {"embedding_multiplier", "1"},
                                   {"residual_multiplier", "1"},
                                   {"logits_scaling", "1"},
                                   {"num_experts", "0"},
                                   {"num_local_experts", "0"},
                                   {"n_routed_experts", "0"},
                                   {"final_logit_softcapping", "null"},
                                   {"attn_logit_softcapping", "null"}};

void require_neutral(const Config& c) {
  for (const NeutralKey& known : kNeutral)
    if (c.has(known.key) && c.json().at(known.key) != Json::parse(known.neutral))
      fail(ErrorCode::unsupported,
           "{}: {} {:.60}: this family is carried with {} only",
           c.path(),
           known.key,
           c.json().at(known.key).dump(),
           known.neutral);
  const bool ignores_window = c.has("use_sliding_window");  // false, as seen above
  if (!ignores_window && c.integer_or("sliding_window", 0) > 0)
    fail(ErrorCode::unsupported,
         "{}: sliding_window {}: this family is carried with attention to the whole context",
         c.path(),
         c.integer("sliding_window"));
}

ops::RopeStyle rope_style(const Config& c) {
  const std::string style = c.string_or("rope_style", "half");
  if (style == "half") return ops::RopeStyle::half_split;
  if (style == "interleaved") return ops::RopeStyle::interleaved;
  fail(ErrorCode::data_loss,
       "{}: rope_style \"{:.40}\": expected \"half\" or \"interleaved\"",
       c.path(),
       style);
}

// Layer norms have a bias, RMS norms have none; a file where some norms have one is neither.
NormKind norm_kind(const Builder& b, int layers) {
  std::vector<std::string> norms = {"model.norm"};
  for (int i = 0; i < layers; ++i)
    for (const char* name : {"input_layernorm", "post_attention_layernorm"})
      norms.push_back(format("model.layers.{}.{}", i, name));
  std::string with, without;
  for (const std::string& norm : norms) (b.has(norm + ".bias") ? with : without) = norm;
  if (!with.empty() && !without.empty())
    fail(ErrorCode::data_loss,
         "{}: {} has a bias and {} has none: RMS norms have none, layer norms all have one",
         b.config().path(),
         with,
         without);
  return with.empty() ? NormKind::rms : NormKind::layer;
}

// By presence of an output matrix, unless the config says it; then it must be right.
bool is_tied(const Builder& b) {
  constexpr std::array kHeads = {"lm_head.weight", "lm_head.qweight", "lm_head.weight_packed"};
  const bool has_head = std::ranges::any_of(kHeads, [&](const char* name) { return b.has(name); });
  return b.config().boolean_or("tie_word_embeddings", b.has_weights() && !has_head);
}

// A wrong value of these gives fluent nonsense: they have no default.
DecoderConfig spark_config(const Builder& b) {
  const Config& root = b.config();
  if (const std::string type = root.string("model_type"); type != "spark")
    fail(ErrorCode::unsupported,
         "{}: model_type \"{:.60}\": architecture SparkModel is carried for \"spark\" only",
         root.path(),
         type);
  (void)root.string("hidden_act");
  (void)root.number("rms_norm_eps");
  (void)root.integer("max_position_embeddings");
  require_neutral(root);
  DecoderConfig c = DecoderConfig::from(root, 0, Gates::stated);
  c.is_tied = is_tied(b);
  c.norm = norm_kind(b, c.layers);
  c.attention.qkv_bias = c.attention.out_bias = c.head_bias = Bias::if_stored;
  c.mlp.gate_up_bias = c.mlp.down_bias = Bias::if_stored;
  c.attention.rope_style = rope_style(root);
  return c;
}

void warn_of_guesses(const Builder& b) {
  if (b.ctx().device.is_meta() || b.shard().rank() != 0 || b.stage().rank() != 0) return;
  const Config& c = b.config();
  log(LogLevel::warn,
      "spark: no checkpoint of this family was ever seen by this build: measure the perplexity of "
      "a "
      "plain paragraph first (docs/models/spark.md)");
  const std::optional<Config> settings = rope_settings(c);
  if (!c.has("rope_theta") && !(settings && settings->has("rope_theta")))
    log(LogLevel::warn, "{}: no rope_theta: 10000 is taken", c.path());
  if (!c.has("rope_style"))
    log(LogLevel::warn,
        "{}: no rope_style: \"half\" is taken; the other is \"interleaved\"",
        c.path());
}

}  // namespace

std::unique_ptr<Model> make_spark(const Builder& b) {
  const DecoderConfig c = spark_config(b);
  warn_of_guesses(b);
  return std::make_unique<DecoderModel>(b,
                                        DecoderModel::Family{"SparkForCausalLM", "spark"},
                                        c,
                                        Rope::from(b, b.config(), c.attention.sizes.head_size));
}

}  // namespace quern
