// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <algorithm>

#include "base/error.h"
#include "models/families.h"

namespace quern {
namespace {

constexpr ModelEntry kTable[] = {
    {"LlamaForCausalLM", "llama", make_llama},
    {"Qwen2ForCausalLM", "qwen2", make_qwen2},
    {"Qwen2VLForConditionalGeneration", "qwen2_vl", make_qwen2_vl},
    {"Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", make_qwen2_5_vl},
    {"Glm4vForConditionalGeneration", "glm4v", make_glm4v},
    {"Glm4vMoeForConditionalGeneration", "glm4v_moe", make_glm4v_moe},
    {"GlmAsrForConditionalGeneration", "glmasr", make_glmasr},
    {"HunYuanVLForConditionalGeneration", "hunyuan_vl", make_hunyuan_vl},
    {"DeepseekV3ForCausalLM", "deepseek_v3", make_deepseek_v3},
    {"KimiK2ForCausalLM", "kimi_k2", make_deepseek_v3},  // configs that were renamed
    {"WhisperForConditionalGeneration", "whisper", make_whisper},
    {"SparkForCausalLM", "spark", make_spark},
    {"SparkModel", "spark", make_spark},  // with an output matrix all the same
    {"LlamaModel", "llama", make_llama, Output::hidden},
    {"Qwen2Model", "qwen2", make_qwen2, Output::hidden},
    {"LlamaForSequenceClassification", "llama", make_llama, Output::scores},
    {"Qwen2ForSequenceClassification", "qwen2", make_qwen2, Output::scores},
};

// Families that are easily taken for one of the table.
struct OtherFamily {
  std::string_view model_type, what;
};
constexpr OtherFamily kNotCarried[] = {
    {"spark2_5", "Spark-X2.5 has sliding windows, gated heads and a fused projection"},
    {"spark3", "Spark 3 has sliding windows and gates"},
    {"iflytekspark", "iFlytekSpark is an older architecture"},
};

void refuse_other_families(const Config& config, std::string_view type) {
  for (const OtherFamily& family : kNotCarried)
    if (family.model_type == type)
      fail(ErrorCode::unsupported,
           "{}: model_type \"{}\": {}; of iFlytek's families this build carries \"spark\" alone",
           config.path(),
           type,
           family.what);
}

std::string known_architectures() {
  std::string out;
  for (const ModelEntry& entry : kTable)
    out += format("{}{}", out.empty() ? "" : ", ", entry.architecture);
  return out;
}

// Hidden states all of them have.
void check_output(const ModelEntry& entry, const Builder& b) {
  if (b.output() == Output::hidden || b.output() == entry.head) return;
  if (b.output() == Output::scores)
    fail(ErrorCode::unsupported,
         "{}: {} has no classification head (score.weight); serve it with --convert embed",
         b.config().path(),
         entry.architecture);
  fail(ErrorCode::unsupported,
       "{}: {} has no output matrix and generates no text; serve it with --runner pooling",
       b.config().path(),
       entry.architecture);
}

}  // namespace

// `architectures` decides; a config without it is known by its model_type.
const ModelEntry& model_entry(const Config& config) {
  const auto architectures =
      config.has("architectures") ? config.strings("architectures") : std::vector<std::string>{};
  const std::string type = config.string_or("model_type", "");
  refuse_other_families(config, type);
  for (const ModelEntry& entry : kTable) {
    const bool matches =
        architectures.empty()
            ? entry.model_type == type
            : std::ranges::find(architectures, entry.architecture) != architectures.end();
    if (matches) return entry;
  }
  const std::string asked =
      architectures.empty() ? format("model_type \"{}\"", type) : architectures.front();
  fail(ErrorCode::unsupported,
       "{}: {}: this build has {}",
       config.path(),
       asked,
       known_architectures());
}

std::span<const ModelEntry> model_table() {
  return kTable;
}

std::unique_ptr<Model> make_model(const Builder& b) {
  const ModelEntry& entry = model_entry(b.config());
  check_output(entry, b);
  return with_context(format("while loading {}", entry.architecture),
                      [&] { return entry.make(b); });
}

}  // namespace quern
