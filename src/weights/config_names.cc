// SPDX-License-Identifier: Apache-2.0
// Source of the older keys: configuration_glmasr.py beside the first upload of GLM-ASR-Nano-2512.
#include "weights/config_names.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace quern {
namespace {

Json audio_config_of(const Json& whisper) {
  static constexpr std::pair<const char*, const char*> kKeys[] = {
      {"d_model", "hidden_size"},
      {"encoder_ffn_dim", "intermediate_size"},
      {"encoder_layers", "num_hidden_layers"},
      {"encoder_attention_heads", "num_attention_heads"},
      {"max_source_positions", "max_position_embeddings"},
      {"activation_function", "hidden_act"},
      {"num_mel_bins", "num_mel_bins"},
  };
  Json out = Json::object();
  for (const auto& [older, newer] : kKeys)
    if (whisper.contains(older)) out[newer] = whisper[older];
  return out;
}

Json newer_glmasr(const Config& config) {
  if (!config.boolean_or("use_rope", true) || config.string_or("adapter_type", "mlp") != "mlp")
    fail(ErrorCode::unsupported,
         "{}: use_rope and adapter_type: only true and \"mlp\" are supported",
         config.path());
  Json out = config.json();
  out["text_config"] = config.sub("lm_config").json();
  out["audio_config"] = audio_config_of(config.sub("whisper_config").json());
  if (out.contains("mlp_adapter_act")) out["projector_hidden_act"] = out["mlp_adapter_act"];
  for (const char* key : {"lm_config", "whisper_config", "mlp_adapter_act", "auto_map"})
    out.erase(key);
  out["model_type"] = "glmasr";
  out["architectures"] = Json::array({"GlmAsrForConditionalGeneration"});
  return out;
}

}  // namespace

Config canonical_config(const Config& config) {
  const bool is_older_glmasr = config.json().is_object() && config.has("lm_config") &&
                               config.has("whisper_config") &&
                               config.string_or("model_type", "") == "Glmasr";
  if (!is_older_glmasr) return config;
  const auto root = std::make_shared<const Json>(newer_glmasr(config));
  return Config(root, root.get(), config.path());
}

}  // namespace quern
