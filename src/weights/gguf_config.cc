// SPDX-License-Identifier: Apache-2.0
// Sources: the key list of gguf-py (constants.py); config classes of transformers 5.23.
#include "weights/gguf_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"

namespace quern {
namespace {

const GgufTensor* find_tensor(std::span<const GgufTensor> tensors, std::string_view name) {
  const auto it = std::ranges::find(tensors, name, &GgufTensor::name);
  return it == tensors.end() ? nullptr : &*it;
}

// Metadata under the architecture's own prefix: "llama.block_count".
class FamilyKeys {
 public:
  FamilyKeys(const GgufFamily& family, const GgufMetadata& metadata)
      : family_(family), metadata_(metadata) {}

  std::string key(std::string_view rest) const {
    return format("{}.{}", family_.architecture, rest);
  }
  std::optional<double> number(std::string_view rest) const { return metadata_.number(key(rest)); }
  std::optional<std::string_view> string(std::string_view rest) const {
    return metadata_.string(key(rest));
  }
  std::vector<int64_t> integers(std::string_view rest) const {
    return metadata_.integers(key(rest));
  }
  std::optional<bool> boolean(std::string_view rest) const { return metadata_.boolean(key(rest)); }

  // One number, or an array of equal ones, one for each layer.
  std::optional<int64_t> integer(std::string_view rest) const {
    const std::vector<int64_t> values = integers(rest);
    if (values.empty()) return std::nullopt;
    if (std::ranges::any_of(values, [&](int64_t value) { return value != values.front(); }))
      fail(ErrorCode::unsupported, "{}: differs from layer to layer", key(rest));
    return values.front();
  }

  int64_t required(std::string_view rest) const {
    const auto value = integer(rest);
    if (!value) fail(ErrorCode::data_loss, "key {} is missing: expected an integer", key(rest));
    if (*value < 1)
      fail(ErrorCode::data_loss, "key {}: expected at least 1, got {}", key(rest), *value);
    return *value;
  }

 private:
  const GgufFamily& family_;
  const GgufMetadata& metadata_;
};

void put_sizes(Json& out, const FamilyKeys& keys) {
  const int64_t hidden = keys.required("embedding_length"),
                heads = keys.required("attention.head_count");
  const int64_t head_size = keys.integer("attention.key_length").value_or(hidden / heads);
  out["hidden_size"] = hidden;
  out["intermediate_size"] = keys.required("feed_forward_length");
  out["num_hidden_layers"] = keys.required("block_count");
  out["num_attention_heads"] = heads;
  out["num_key_value_heads"] = keys.integer("attention.head_count_kv").value_or(heads);
  out["head_dim"] = head_size;
  out["max_position_embeddings"] = keys.required("context_length");
  out["rms_norm_eps"] = keys.number("attention.layer_norm_rms_epsilon").value_or(1e-6);
  out["hidden_act"] = "silu";
  if (const auto value_size = keys.integer("attention.value_length");
      value_size.value_or(head_size) != head_size)
    fail(ErrorCode::unsupported,
         "{}: heads of {} for keys and {} for values",
         keys.key("attention.value_length"),
         head_size,
         *value_size);
}

// Some converters write the rotary sections with a fourth, empty one; config.json has three.
std::vector<int64_t> rotary_sections(const FamilyKeys& keys) {
  std::vector<int64_t> sections = keys.integers("rope.dimension_sections");
  if (sections.size() == 4 && sections.back() == 0) sections.pop_back();
  return sections;
}

void put_rope(Json& out, const FamilyKeys& keys) {
  out["rope_theta"] = keys.number("rope.freq_base").value_or(10000.0);
  const auto head_size = out["head_dim"].get<int64_t>();
  const int64_t rotated = keys.integer("rope.dimension_count").value_or(head_size);
  if (rotated != head_size)
    out["partial_rotary_factor"] = static_cast<double>(rotated) / static_cast<double>(head_size);
  if (const std::vector<int64_t> sections = rotary_sections(keys); !sections.empty()) {
    out["rope_scaling"] = {{"type", "mrope"}, {"mrope_section", sections}};
    return;
  }
  // Older files give a linear factor alone.
  const auto linear = keys.number("rope.scale_linear");
  const std::string type(
      keys.string("rope.scaling.type").value_or(linear && *linear != 1 ? "linear" : "none"));
  if (type == "none") return;
  if (type != "linear" && type != "yarn" && type != "longrope")
    fail(ErrorCode::unsupported, "{}: {:.60}", keys.key("rope.scaling.type"), type);
  Json scaling = {{"rope_type", type}};
  if (const auto factor = keys.number("rope.scaling.factor"); factor || linear)
    scaling["factor"] = factor.value_or(linear.value_or(1));
  if (const auto original = keys.integer("rope.scaling.original_context_length"))
    scaling["original_max_position_embeddings"] = *original;
  if (const auto factor = keys.number("rope.scaling.attn_factor"))
    scaling["attention_factor"] = *factor;
  out["rope_scaling"] = std::move(scaling);
}

void put_experts(Json& out, const FamilyKeys& keys) {
  const auto experts = keys.integer("expert_count");
  if (!experts || *experts == 0) return;
  out["num_local_experts"] = *experts;
  if (const auto used = keys.integer("expert_used_count")) out["num_experts_per_tok"] = *used;
  // Llama's layout with experts is another model.
  if (out["model_type"] == "llama") {
    out["architectures"] = {"MixtralForCausalLM"};
    out["model_type"] = "mixtral";
  }
}

int64_t vocabulary_size(const FamilyKeys& keys,
                        const GgufMetadata& metadata,
                        std::span<const GgufTensor> tensors) {
  if (const GgufTensor* embedding = find_tensor(tensors, "token_embd.weight");
      embedding != nullptr && embedding->shape.rank() == 2)
    return embedding->shape[0];  // what the model really has: it may be padded
  if (const GgufValue* tokens = metadata.find("tokenizer.ggml.tokens");
      tokens != nullptr && tokens->type == GgufType::array)
    return static_cast<int64_t>(std::min(tokens->count, GgufMetadata::kMaxItems));
  return keys.required("vocab_size");
}

// The type that one would compute in: that of most matrices, float32 for block types.
std::string_view stated_dtype(std::span<const GgufTensor> tensors) {
  const auto matrices = [&](Stored stored) {
    return std::ranges::count_if(
        tensors, [&](const GgufTensor& t) { return t.shape.rank() >= 2 && t.stored == stored; });
  };
  const auto all =
      std::ranges::count_if(tensors, [](const GgufTensor& t) { return t.shape.rank() >= 2; });
  if (2 * matrices(Stored::bf16) > all) return "bfloat16";
  return 2 * matrices(Stored::f16) > all ? "float16" : "float32";
}

void put_from_tensors(Json& out, std::span<const GgufTensor> tensors) {
  out["torch_dtype"] = stated_dtype(tensors);
  out["tie_word_embeddings"] = find_tensor(tensors, "output.weight") == nullptr;
  out["attention_bias"] = find_tensor(tensors, "blk.0.attn_q.bias") != nullptr;
  out["mlp_bias"] = find_tensor(tensors, "blk.0.ffn_gate.bias") != nullptr;
}

// Ids that end a text, a turn or a message. Files of older converters name only the first; the rest
// is known by its text.
std::vector<int64_t> end_tokens(const GgufMetadata& metadata) {
  static constexpr std::string_view kKeys[] = {
      "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  static constexpr std::string_view kTexts[] = {
      "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"};
  constexpr int64_t kControl = 3;  // of tokenizer.ggml.token_type
  std::vector<int64_t> ids;
  const auto add = [&](int64_t id) {
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  };
  for (const std::string_view key : kKeys)
    if (const auto id = metadata.integer(key)) add(*id);
  const auto tokens = metadata.strings("tokenizer.ggml.tokens");
  const auto types = metadata.integers("tokenizer.ggml.token_type");
  for (size_t id = 0; id < std::min(tokens.size(), types.size()); ++id)
    if (types[id] == kControl && std::ranges::find(kTexts, tokens[id]) != std::end(kTexts))
      add(static_cast<int64_t>(id));
  return ids;
}

void put_token_ids(Json& out, const GgufMetadata& metadata) {
  if (const auto id = metadata.integer("tokenizer.ggml.bos_token_id")) out["bos_token_id"] = *id;
  if (const std::vector<int64_t> ids = end_tokens(metadata); !ids.empty())
    out["eos_token_id"] = ids;
  if (const auto id = metadata.integer("tokenizer.ggml.padding_token_id"))
    out["pad_token_id"] = *id;
}

// What llama.cpp's converters write into embedding models, in the words of pooling_files.h.
void put_pooling(Json& out, const FamilyKeys& keys) {
  constexpr std::string_view kTypes[] = {"", "MEAN", "CLS", "LAST", "RANK"};
  if (const auto causal = keys.boolean("attention.causal")) out["is_causal"] = *causal;
  const auto type = keys.integer("pooling_type");
  if (!type || *type == 0) return;
  if (*type < 0 || *type >= static_cast<int64_t>(std::size(kTypes)))
    fail(
        ErrorCode::unsupported, "{}: {}: this build knows 0 to 4", keys.key("pooling_type"), *type);
  out["gguf_pooling_type"] = kTypes[static_cast<size_t>(*type)];
}

}  // namespace

Json gguf_config_json(const GgufFamily& family,
                      const GgufMetadata& metadata,
                      std::span<const GgufTensor> tensors) {
  const FamilyKeys keys(family, metadata);
  Json out = {{"architectures", {family.model_class}}, {"model_type", family.model_type}};
  put_sizes(out, keys);
  put_rope(out, keys);
  put_experts(out, keys);
  put_pooling(out, keys);
  out["vocab_size"] = vocabulary_size(keys, metadata, tensors);
  put_from_tensors(out, tensors);
  put_token_ids(out, metadata);
  return out;
}

Json gguf_generation_json(const GgufMetadata& metadata) {
  struct Default {
    std::string_view key, name;
  };
  static constexpr Default kDefaults[] = {
      {"general.sampling.temp", "temperature"},
      {"general.sampling.top_p", "top_p"},
      {"general.sampling.min_p", "min_p"},
      {"general.sampling.penalty_repeat", "repetition_penalty"}};
  Json out = Json::object();
  put_token_ids(out, metadata);
  if (const auto top_k = metadata.integer("general.sampling.top_k")) out["top_k"] = *top_k;
  for (const Default& d : kDefaults)
    if (const auto value = metadata.number(d.key)) out[std::string(d.name)] = *value;
  return out;
}

}  // namespace quern
