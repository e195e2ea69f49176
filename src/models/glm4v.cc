// SPDX-License-Identifier: Apache-2.0
// GLM-4.1V-9B-Thinking, AutoGLM-Phone-9B, GLM-4.6V-Flash; GLM-4.5V and GLM-4.6V, which have
// experts. GLM-V Team 2025, "GLM-4.5V and GLM-4.1V-Thinking" (arXiv 2507.01006). Reference:
// transformers 5.23, models/glm4v and models/glm4v_moe.
//
// The tower (glm4v_tower.cc) makes tokens of pictures, and of clips frame pair by frame pair. Both
// decoders turn the first half of each head with time, row and column:
//
//   a(n) = Wo attention(rope(Wq n + bq), rope(Wk n + bk), Wv n + bv)
//
// The dense one norms what attention and MLP give before it is added, and pairs neighbours 2j and
// 2j + 1 of a head:
//
//   per layer:  h += rms_norm(a(rms_norm(h)))
//               h += rms_norm(Wdown (silu(g) * u)),  [g; u] = Wgate_up rms_norm(h)
//
// The other one pairs j and j + R/2 of the R elements that turn, and has experts (nn/moe.h) in all
// layers but the first:
//
//   per layer:  h += a(rms_norm(h))
//               h += Σ of the chosen experts of n + a shared one,  n = rms_norm(h)
#include "base/error.h"
#include "models/families.h"
#include "models/glm4v_tower.h"

namespace quern {
namespace {

constexpr int32_t kImageToken = 151343, kMoeImageToken = 151363;  // <|image|>
const RopeDefaults kRopeDefaults{.theta = 10000, .sections = {8, 12, 12}};

// What published files all say and the reference takes for granted.
void check_text(const Builder& b,
                const Config& text,
                std::string_view architecture,
                std::string_view other_mlp) {
  if (!text.boolean_or("attention_bias", true))
    fail(ErrorCode::unsupported,
         "{}: attention_bias false: this family has biases on q, k and v",
         text.path());
  if (text.boolean_or("use_qk_norm", false))
    fail(ErrorCode::unsupported,
         "{}: use_qk_norm: this family does not norm queries and keys",
         text.path());
  const std::string_view foreign[] = {
      "self_attn.o_proj.bias", "self_attn.q_norm.weight", other_mlp};
  for (const std::string_view name : foreign)
    if ((b / "model.layers.0").has(name))
      fail(ErrorCode::unsupported,
           "model.layers.0.{}: {} has no such tensor; is this another model?",
           name,
           architecture);
}

DecoderConfig text_config(const Config& root) {
  DecoderConfig c = DecoderConfig::from(root, 1e-5);
  c.attention.qkv_bias = Bias::present;
  return c;
}

std::unique_ptr<Model> make(const Builder& b,
                            const DecoderModel::Family& family,
                            const DecoderConfig& c,
                            int64_t rotary_size,
                            int32_t image_token) {
  const Config text = b.config().sub_or_self("text_config");
  auto model =
      std::make_unique<DecoderModel>(b, family, c, Rope::from(b, text, rotary_size, kRopeDefaults));
  model->take_pictures(
      b, make_glm4v_tower(b, c.hidden), glm4v_media_tokens(b.config(), c.vocab, image_token));
  return model;
}

}  // namespace

std::unique_ptr<Model> make_glm4v(const Builder& b) {
  const DecoderModel::Family family{"Glm4vForConditionalGeneration", "glm4v"};
  const Config text = b.config().sub_or_self("text_config");
  check_text(b, text, family.architecture, "mlp.gate.weight");
  DecoderConfig c = text_config(b.config());
  c.attention.rope_style = ops::RopeStyle::interleaved;
  c.has_sandwich_norms = c.is_gate_up_fused = true;
  return make(b, family, c, rotary_size(text, c.attention.sizes.head_size, 1.0), kImageToken);
}

std::unique_ptr<Model> make_glm4v_moe(const Builder& b) {
  const DecoderModel::Family family{"Glm4vMoeForConditionalGeneration", "glm4v_moe"};
  const Config text = b.config().sub_or_self("text_config");
  check_text(b, text, family.architecture, "mlp.gate_up_proj.weight");
  DecoderConfig c = text_config(b.config());
  c.moe = MoeConfig::noaux_tc(text, c.hidden);
  return make(b, family, c, rotary_size(text, c.attention.sizes.head_size, 0.5), kMoeImageToken);
}

}  // namespace quern
