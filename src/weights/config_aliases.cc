// SPDX-License-Identifier: Apache-2.0
#include "weights/config_aliases.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {
namespace {

struct KeySpelling {
  const char* published;
  const char* other;
};
constexpr KeySpelling kSpellings[] = {{"hidden_size", "n_embd"},
                                      {"hidden_size", "d_model"},
                                      {"num_hidden_layers", "num_layers"},
                                      {"num_hidden_layers", "n_layer"},
                                      {"num_attention_heads", "n_head"},
                                      {"num_key_value_heads", "num_kv_heads"},
                                      {"num_key_value_heads", "multi_query_group_num"},
                                      {"intermediate_size", "ffn_hidden_size"},
                                      {"rms_norm_eps", "layernorm_epsilon"},
                                      {"rms_norm_eps", "layer_norm_eps"},
                                      {"rope_theta", "rotary_base"},
                                      {"max_position_embeddings", "seq_length"},
                                      {"head_dim", "kv_channels"}};

Config made_of(Json root, const std::string& path) {
  auto owned = std::make_shared<const Json>(std::move(root));
  const Json* part = owned.get();
  return Config(std::move(owned), part, path);
}

}  // namespace

bool is_spark(const Config& config) {
  return config.has("model_type") && config.json().at("model_type") == "spark";
}

Config with_changed_keys(const Config& stored, const Json& changes) {
  if (changes.empty()) return stored;
  Json root = stored.json();
  for (const auto& [key, value] : changes.items()) {
    if (value.is_null())
      root.erase(key);
    else
      root[key] = value;
  }
  return made_of(std::move(root), stored.path());
}

Config with_published_keys(const Config& stored) {
  if (!is_spark(stored)) return stored;
  Json root = stored.json();
  for (const KeySpelling& key : kSpellings) {
    if (!stored.has(key.other)) continue;
    const Json& value = stored.json().at(key.other);
    const auto known = root.find(key.published);
    if (known != root.end() && !known->is_null() && *known != value)
      fail(ErrorCode::data_loss,
           "{}: {} is {:.40} and {} is {:.40}: two spellings of one key disagree; remove the wrong "
           "one, or set it to null under \"config\" of quern_names.json",
           stored.path(),
           key.published,
           known->dump(),
           key.other,
           value.dump());
    root[key.published] = value;
  }
  return made_of(std::move(root), stored.path());
}

}  // namespace quern
