// SPDX-License-Identifier: Apache-2.0
// tokenizer.json of the `tokenizers` library with a BPE model over bytes.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "text/tokenizer/json_fields.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/tokenizer_parts.h"

namespace quern {
namespace {

constexpr JsonLimits kLimits{size_t{128} << 20, 32};

// Settings of the model that would change ids and are not done here.
void check_model(const Json& model) {
  const std::string type = string_field(model, "type", "BPE");  // old files leave it out
  if (type != "BPE")
    fail(ErrorCode::unsupported, "model: type '{:.60}' is not supported, only BPE", type);
  if (const Json* dropout = find_field(model, "dropout");
      dropout && (!dropout->is_number() || *dropout != 0))
    fail(ErrorCode::unsupported, "model: 'dropout' makes ids random; set it to null");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!string_field(model, key).empty())
      fail(ErrorCode::unsupported, "model: '{}' is not supported with byte-level words", key);
  if (bool_field(model, "byte_fallback", false))
    fail(ErrorCode::unsupported, "model: 'byte_fallback' is not supported with byte-level words");
}

void read_vocabulary(const Json& model, TokenizerParts& parts) {
  const Json* vocab = find_field(model, "vocab");
  if (!vocab || !vocab->is_object())
    fail(ErrorCode::data_loss, "model: 'vocab' is missing or not an object");
  parts.ids.reserve(vocab->size());
  parts.vocabulary.tokens.reserve(std::min<size_t>(vocab->size(), kMaxTokenId));
  for (const auto& [name, id] : vocab->items())
    parts.add_token(id_value(id, kMaxTokenId, name), name);
}

// A merge is ["left", "right"], or "left right" in older files.
std::pair<std::string_view, std::string_view> merge_names(const Json& merge, size_t index) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>()};
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string_view::npos && text.find(' ', space + 1) == std::string_view::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  fail(ErrorCode::data_loss, "model: merge {} is not a pair of tokens", index);
}

void read_merges(const Json& model, TokenizerParts& parts) {
  const Json& merges = array_field(model, "merges");
  parts.vocabulary.merges.reserve(std::min(merges.size(), kMaxMerges));
  for (size_t i = 0; i < merges.size(); ++i) {
    // merges.txt begins with a version line, and some converters kept it
    if (merges[i].is_string() && merges[i].get_ref<const std::string&>().starts_with("#version"))
      continue;
    const auto [left, right] = merge_names(merges[i], i);
    parts.add_merge(left, right);
  }
}

void read_model(const Json& model, TokenizerParts& parts) {
  check_model(model);
  read_vocabulary(model, parts);
  read_merges(model, parts);
  parts.vocabulary.ignores_merges = bool_field(model, "ignore_merges", false);
  parts.vocabulary.fuses_unknown = bool_field(model, "fuse_unk", false);
  if (const std::string unknown = string_field(model, "unk_token"); !unknown.empty()) {
    const auto entry = parts.ids.find(unknown);
    // The reference looks the token up only when it needs it; a full byte vocabulary never does.
    if (entry != parts.ids.end()) parts.vocabulary.unknown_id = entry->second;
  }
}

void read_added_tokens(const Json& root, TokenizerParts& parts) {
  const Json* tokens = find_field(root, "added_tokens");
  if (!tokens) return;
  size_t moved = 0;
  for (const Json& entry : array_field(root, "added_tokens")) {
    AddedToken token = parse_added_token(entry);
    if (const Json* id = find_field(entry, "id"))
      token.id = id_value(*id, kMaxTokenId, "added_tokens: id");
    moved += !parts.add_added_token(std::move(token));
  }
  if (moved)
    log(LogLevel::warn,
        "tokenizer.json: added tokens whose id is not the next free one count={}",
        moved);
}

const Json& component(const Json& root, std::string_view key) {
  static const Json null;
  const Json* field = find_field(root, key);
  return field ? *field : null;
}

}  // namespace

AddedToken parse_added_token(const Json& json) {
  AddedToken token;
  token.content = string_field(json, "content");
  token.is_special = bool_field(json, "special", false);
  token.is_normalized = bool_field(json, "normalized", !token.is_special);
  token.is_single_word = bool_field(json, "single_word", false);
  token.strips_left = bool_field(json, "lstrip", false);
  token.strips_right = bool_field(json, "rstrip", false);
  return token;
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view config_json) {
  const Json root = parse_json(tokenizer_json, "tokenizer.json", kLimits);
  const Json* model = find_field(root, "model");
  if (!model) fail(ErrorCode::data_loss, "tokenizer.json: 'model' is missing");
  TokenizerParts parts;
  read_model(*model, parts);
  read_added_tokens(root, parts);
  parts.normalizer = parse_normalizer(component(root, "normalizer"));
  parts.pre_tokenizer = parse_pre_tokenizer(component(root, "pre_tokenizer"));
  int32_t id_end = static_cast<int32_t>(parts.vocabulary.tokens.size());
  for (const AddedToken& token : parts.added.all()) id_end = std::max(id_end, token.id + 1);
  parts.post_processor = parse_post_processor(component(root, "post_processor"), id_end);
  check_decoder(component(root, "decoder"));
  apply_tokenizer_config(parse_tokenizer_config(config_json), parts);
  return Tokenizer(std::move(parts));
}

}  // namespace quern
