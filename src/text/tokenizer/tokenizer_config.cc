// SPDX-License-Identifier: Apache-2.0
// tokenizer_config.json: names of special tokens, tokens added after training, whether to begin
// with one. The rules are those of transformers 5.23 (TokenizersBackend), but for one: a named
// token that the vocabulary does not have is left out, where the reference makes up an id that no
// model has a row for.
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/tokenizer/json_fields.h"
#include "text/tokenizer/tokenizer_parts.h"

namespace quern {
namespace {

// A token is written as its content or as an object with flags.
std::optional<std::string> token_name(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  if (json.is_object()) return string_field(json, "content");
  return std::nullopt;
}

std::optional<std::string> named_token(const Json& root, std::string_view key) {
  const Json* field = find_field(root, key);
  return field ? token_name(*field) : std::nullopt;
}

std::optional<bool> flag(const Json& root, std::string_view key) {
  if (!root.contains(key)) return std::nullopt;
  return bool_field(root, key, false);
}

void read_added(const Json& root, TokenizerConfig& config) {
  const Json* entries = find_field(root, "added_tokens_decoder");
  if (!entries) return;
  if (!entries->is_object())
    fail(ErrorCode::data_loss, "'added_tokens_decoder': expected an object");
  for (const auto& [key, entry] : entries->items()) {
    AddedToken token = parse_added_token(entry);
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (error != std::errc() || end != key.data() + key.size() || token.id < 0 ||
        token.id > kMaxTokenId)
      fail(ErrorCode::data_loss,
           "'added_tokens_decoder': '{:.40}' is not an id in 0..{}",
           key,
           kMaxTokenId);
    config.added.push_back(std::move(token));
  }
  std::stable_sort(config.added.begin(),
                   config.added.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
}

void read_special_names(const Json& root, TokenizerConfig& config) {
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"})
    if (auto name = named_token(root, key)) config.special_tokens.push_back(std::move(*name));
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const Json* list = find_field(root, key);
    if (!list || !list->is_structured()) continue;  // an object names tokens by role
    for (const Json& token : *list)
      if (auto name = token_name(token)) config.special_tokens.push_back(std::move(*name));
  }
}

std::optional<int32_t> find_named(const TokenizerParts& parts,
                                  const std::optional<std::string>& name) {
  return name ? parts.find(*name) : std::nullopt;
}

}  // namespace

TokenizerConfig parse_tokenizer_config(std::string_view text) {
  TokenizerConfig config;
  if (text.empty()) return config;
  return with_context("tokenizer_config.json", [&] {
    const Json root = parse_json(text, "tokenizer_config.json");
    config.bos = named_token(root, "bos_token");
    config.eos = named_token(root, "eos_token");
    config.pad = named_token(root, "pad_token");
    read_special_names(root, config);
    read_added(root, config);
    config.add_bos = flag(root, "add_bos_token");
    config.add_eos = flag(root, "add_eos_token");
    config.legacy = flag(root, "legacy");
    config.tokenizer_class = string_field(root, "tokenizer_class");
    config.split_pattern = string_field(root, "pat_str");
    return std::move(config);
  });
}

void apply_tokenizer_config(const TokenizerConfig& config, TokenizerParts& parts) {
  for (const AddedToken& token : config.added) parts.add_added_token(token);
  for (const std::string& name : config.special_tokens) {
    if (parts.added.find(name) || !parts.find(name)) continue;
    AddedToken token;
    token.content = name;
    token.is_special = true;
    parts.add_added_token(std::move(token));
  }
  parts.bos = find_named(parts, config.bos);
  parts.eos = find_named(parts, config.eos);
  parts.pad = find_named(parts, config.pad);
  if (!config.add_bos && !config.add_eos) return;
  TokenTemplate around;
  if (config.add_bos.value_or(false) && parts.bos) around.before.push_back(*parts.bos);
  if (config.add_eos.value_or(false) && parts.eos) around.after.push_back(*parts.eos);
  // The second text gets the same around it as the first.
  std::vector<int32_t> between = around.after;
  between.insert(between.end(), around.before.begin(), around.before.end());
  around.pair = PairTemplate{around.before, std::move(between), around.after};
  parts.post_processor.clear();
  parts.post_processor.add(std::move(around));
}

}  // namespace quern
