// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V3 and R1, Kimi-K2. DeepSeek-AI 2024, "DeepSeek-V3 Technical Report"; Moonshot AI 2025,
// "Kimi K2". Reference: transformers 5.23, models/deepseek_v3.
//
//   h = embedding[ids]
//   per layer:  h += latent attention(n),                       n = rms_norm(h)
//   (nn/latent_attention.h)
//               h += silu-gated MLP of n in the first layers,   n = rms_norm(h)
//                    Σ of the chosen experts + a shared one in all others       (nn/moe.h)
//   logits = Whead rms_norm(h)
//
// YaRN stretches the rotary part; its temperature enters the softmax scale. Layers beyond
// num_hidden_layers, which guess several tokens ahead, are not loaded.
#include <cmath>

#include "base/error.h"
#include "models/families.h"
#include "nn/decoder_model.h"
#include "nn/yarn.h"

namespace quern {
namespace {

constexpr int64_t kMostRank = 32768, kMostHead = 4096;

// What no released checkpoint has otherwise, and what would run wrongly.
void require_string(const Config& c, std::string_view key, std::string_view expected) {
  const std::string value = c.string_or(key, expected);
  if (value != expected)
    fail(ErrorCode::unsupported,
         "{}: {} {}: this family is carried with {} only",
         c.path(),
         key,
         value,
         expected);
}

// A wrong base or ramp still gives fluent text: these keys have no default.
std::optional<Yarn> yarn_of(const Config& c) {
  const std::optional<Config> scaling = rope_settings(c);
  if (!scaling || !scaling->has("rope_theta")) (void)c.number("rope_theta");
  if (!scaling) return std::nullopt;
  const std::string type = rope_type(*scaling);
  if (type == "default") return std::nullopt;
  if (type != "yarn")
    fail(ErrorCode::unsupported,
         "{}: type {}: this family is carried with yarn or without scaling",
         scaling->path(),
         type);
  for (const char* key : {"factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"})
    (void)scaling->number(key);
  return Yarn::from(*scaling, c.integer("max_position_embeddings", 1));
}

LatentConfig latent_config(const Config& c, int64_t hidden) {
  LatentConfig l;
  l.hidden = hidden;
  l.heads = c.integer("num_attention_heads", 1, kMostHead);
  if (const int64_t kv = c.integer_or("num_key_value_heads", l.heads, 1, kMostHead); kv != l.heads)
    fail(ErrorCode::data_loss,
         "{}: num_key_value_heads {}: expected num_attention_heads {}: heads share one latent row",
         c.path(),
         kv,
         l.heads);
  l.q_rank = c.integer_or("q_lora_rank", 0, 0, kMostRank);
  l.kv_rank = c.integer("kv_lora_rank", 1, kMostRank);
  l.nope = c.integer("qk_nope_head_dim", 1, kMostHead);
  l.rope = c.integer("qk_rope_head_dim", 2, kMostHead);
  l.value = c.integer("v_head_dim", 1, kMostHead);
  if (l.rope % 2 != 0)
    fail(ErrorCode::data_loss, "{}: qk_rope_head_dim {}: expected an even one", c.path(), l.rope);
  l.bias = c.boolean_or("attention_bias", false) ? Bias::present : Bias::none;
  l.rope_style = c.boolean_or("rope_interleave", true) ? ops::RopeStyle::interleaved
                                                       : ops::RopeStyle::half_split;
  l.scale = 1 / std::sqrt(static_cast<double>(l.nope + l.rope));
  if (const auto yarn = yarn_of(c)) l.scale *= yarn->softmax_scale();
  return l;
}

DecoderConfig deepseek_config(const Config& root) {
  (void)root.number("rms_norm_eps");  // differs between checkpoints: no default
  (void)root.integer("max_position_embeddings", 1);
  require_string(root, "scoring_func", "sigmoid");
  require_string(root, "topk_method", "noaux_tc");
  DecoderConfig c = DecoderConfig::without_heads(root);
  if (!(c.norm_eps >= 0 && c.norm_eps < 1))
    fail(
        ErrorCode::data_loss, "{}: rms_norm_eps: expected 0 to 1, got {}", root.path(), c.norm_eps);
  c.latent = latent_config(root, c.hidden);
  c.moe = MoeConfig::noaux_tc(root, c.hidden);
  c.attention.sizes = {c.latent->heads, c.latent->heads, c.latent->value};
  return c;
}

}  // namespace

std::unique_ptr<Model> make_deepseek_v3(const Builder& b) {
  const Config& root = b.config();
  const DecoderConfig c = deepseek_config(root);
  return std::make_unique<DecoderModel>(
      b,
      DecoderModel::Family{"DeepseekV3ForCausalLM", root.string_or("model_type", "deepseek_v3")},
      c,
      Rope::from(b, root, c.latent->rope));
}

}  // namespace quern
