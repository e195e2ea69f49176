// SPDX-License-Identifier: Apache-2.0
// Llama 2 and 3, SmolLM2 and others that share the layout. Touvron et al. 2023, "LLaMA: Open and
// Efficient Foundation Language Models"; Grattafiori et al. 2024, "The Llama 3 Herd of Models".
// Reference: transformers 5.23, models/llama.
//
//   h = embedding[ids]
//   per layer:  h += Wo attention(rope(Wq n), rope(Wk n), Wv n),  n = rms_norm(h)
//               h += Wdown (silu(Wgate n) * Wup n),               n = rms_norm(h)
//   logits = Whead rms_norm(h)
#include "models/families.h"
#include "models/registry.h"
#include "nn/decoder_model.h"

namespace quern {

DecoderConfig llama_config(const Config& root, double default_eps) {
  DecoderConfig c = DecoderConfig::from(root, default_eps);
  const Config text = root.sub_or_self("text_config");
  const auto bias = [&](std::string_view key) {
    return text.boolean_or(key, false) ? Bias::present : Bias::none;
  };
  c.attention.qkv_bias = c.attention.out_bias = bias("attention_bias");
  c.mlp.gate_up_bias = c.mlp.down_bias = bias("mlp_bias");
  return c;
}

std::unique_ptr<Model> make_llama(const Builder& b) {
  const DecoderConfig c = llama_config(b.config());
  return std::make_unique<DecoderModel>(
      b,
      DecoderModel::Family{model_entry(b.config()).architecture, "llama"},
      c,
      Rope::from(b, b.config(), c.attention.sizes.head_size));
}

}  // namespace quern
