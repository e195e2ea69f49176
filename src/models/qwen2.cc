// SPDX-License-Identifier: Apache-2.0
// Qwen2 and Qwen2.5. Yang et al. 2024, "Qwen2 Technical Report". Reference: transformers 5.23,
// models/qwen2. Llama's decoder (see llama.cc) with biases on q, k and v and nowhere else.
#include "models/families.h"
#include "nn/decoder.h"

namespace quern {
namespace {

DecoderConfig qwen2_config(const Config& root) {
  DecoderConfig c = DecoderConfig::from(root);
  c.attention.qkv_bias = Bias::present;
  return c;
}

class Qwen2 final : public Model {
 public:
  Qwen2(const Builder& b, const DecoderConfig& c)
      : decoder_(b, c, Rope::from(b, b.config(), c.attention.sizes.head_size)),
        info_(decoder_.info("Qwen2ForCausalLM", "qwen2")),
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

std::unique_ptr<Model> make_qwen2(const Builder& b) {
  return std::make_unique<Qwen2>(b, qwen2_config(b.config()));
}

}  // namespace quern
