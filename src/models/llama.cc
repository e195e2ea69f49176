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
#include "nn/decoder.h"

namespace quern {
namespace {

DecoderConfig llama_config(const Config& root) {
  DecoderConfig c = DecoderConfig::from(root);
  const auto bias = [&](std::string_view key) {
    return root.boolean_or(key, false) ? Bias::present : Bias::none;
  };
  c.attention.qkv_bias = c.attention.out_bias = bias("attention_bias");
  c.mlp_bias = bias("mlp_bias");
  return c;
}

class Llama final : public Model {
 public:
  Llama(const Builder& b, const DecoderConfig& c)
      : decoder_(b, c, Rope::from(b, b.config(), c.attention.sizes.head_size)),
        info_(decoder_.info("LlamaForCausalLM", "llama")),
        weight_bytes_(b.loaded_bytes()) {}

  const ModelInfo& info() const override { return info_; }
  KvSpec kv_spec() const override { return decoder_.kv_spec(); }
  int64_t weight_bytes() const override { return weight_bytes_; }
  Tensor forward(Ctx& ctx, const Batch& batch, KvCache& kv, Probe* probe) const override {
    return decoder_(ctx, batch, kv, probe);
  }

 private:
  Decoder decoder_;
  ModelInfo info_;
  int64_t weight_bytes_;
};

}  // namespace

std::unique_ptr<Model> make_llama(const Builder& b) {
  return std::make_unique<Llama>(b, llama_config(b.config()));
}

}  // namespace quern
