// SPDX-License-Identifier: Apache-2.0
// Qwen2 and Qwen2.5. Yang et al. 2024, "Qwen2 Technical Report". Reference: transformers 5.23,
// models/qwen2. Llama's decoder (see llama.cc) with biases on q, k and v and nowhere else.
#include "models/families.h"
#include "models/registry.h"
#include "nn/decoder_model.h"

namespace quern {
namespace {

DecoderConfig qwen2_config(const Config& root) {
  DecoderConfig c = DecoderConfig::from(root);
  c.attention.qkv_bias = Bias::present;
  return c;
}

}  // namespace

std::unique_ptr<Model> make_qwen2(const Builder& b) {
  const DecoderConfig c = qwen2_config(b.config());
  return std::make_unique<DecoderModel>(
      b,
      DecoderModel::Family{model_entry(b.config()).architecture, "qwen2"},
      c,
      Rope::from(b, b.config(), c.attention.sizes.head_size));
}

}  // namespace quern
