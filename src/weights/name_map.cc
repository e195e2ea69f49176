// SPDX-License-Identifier: Apache-2.0
#include "weights/name_map.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "weights/stored_json.h"
#include "weights/tensor_names.h"

namespace quern {
namespace {

constexpr JsonLimits kFileLimits{.max_bytes = size_t{1} << 20, .max_depth = 8};
constexpr size_t kMostRules = 1000;
const std::string kLayerPrefix = "model.layers.{n}.";

// Modules of Llama's decoder below "model.layers.N.".
constexpr std::string_view kNorms[] = {"input_layernorm", "post_attention_layernorm"};
constexpr std::string_view kMatrices[] = {"self_attn.q_proj",
                                          "self_attn.k_proj",
                                          "self_attn.v_proj",
                                          "self_attn.o_proj",
                                          "mlp.gate_proj",
                                          "mlp.up_proj",
                                          "mlp.down_proj"};

NamePattern pattern(const std::string& text) {
  return NamePattern::parse(text);
}

TensorRule renamed(const std::string& from, const std::string& to) {
  return {pattern(from + ".{part}"), {pattern(to + ".{part}")}, StackedRows::one};
}

TensorRule kept(const std::string& name) {
  return renamed(name, name);
}

TensorRule gate_and_up(const std::string& from) {
  return {pattern(from + ".{part}"),
          {pattern(kLayerPrefix + "mlp.gate_proj.{part}"),
           pattern(kLayerPrefix + "mlp.up_proj.{part}")},
          StackedRows::gate_up};
}

TensorRule fused_qkv(const std::string& from) {
  return {pattern(from + ".{part}"),
          {pattern(kLayerPrefix + "self_attn.q_proj.{part}"),
           pattern(kLayerPrefix + "self_attn.k_proj.{part}"),
           pattern(kLayerPrefix + "self_attn.v_proj.{part}")},
          StackedRows::qkv};
}

std::vector<TensorRule> llama_rules() {
  std::vector<TensorRule> out = {kept("model.embed_tokens"), kept("model.norm"), kept("lm_head")};
  for (const std::string_view norm : kNorms) out.push_back(kept(kLayerPrefix + std::string(norm)));
  for (const std::string_view matrix : kMatrices)
    out.push_back(kept(kLayerPrefix + std::string(matrix)));
  out.push_back(renamed("output_layer", "lm_head"));
  return out;
}

// iFlytekSpark-13B and its kin.
std::vector<TensorRule> older_rules() {
  std::vector<TensorRule> out = llama_rules();
  out.push_back(renamed("model.final_layernorm", "model.norm"));
  out.push_back(renamed(kLayerPrefix + "self_attn.dense", kLayerPrefix + "self_attn.o_proj"));
  out.push_back(gate_and_up(kLayerPrefix + "mlp.dense_h_to_4h"));
  out.push_back(renamed(kLayerPrefix + "mlp.dense_4h_to_h", kLayerPrefix + "mlp.down_proj"));
  return out;
}

// One layer of Megatron's or ChatGLM's below `root`.
void add_megatron_layer(const std::string& root, std::vector<TensorRule>& out) {
  const std::string layer = root + "layers.{n}.";
  for (const std::string_view norm : kNorms)
    out.push_back(renamed(layer + std::string(norm), kLayerPrefix + std::string(norm)));
  for (const char* word : {"self_attention", "attention", "self_attn"}) {
    const std::string attention = layer + word + ".";
    out.push_back(fused_qkv(attention + "query_key_value"));
    out.push_back(renamed(attention + "dense", kLayerPrefix + "self_attn.o_proj"));
    for (const char* one : {"q_proj", "k_proj", "v_proj", "o_proj"})
      out.push_back(renamed(attention + one, kLayerPrefix + "self_attn." + one));
  }
  out.push_back(gate_and_up(layer + "mlp.dense_h_to_4h"));
  out.push_back(renamed(layer + "mlp.dense_4h_to_h", kLayerPrefix + "mlp.down_proj"));
  for (const char* one : {"gate_proj", "up_proj", "down_proj"})
    out.push_back(renamed(layer + "mlp." + one, kLayerPrefix + "mlp." + one));
  out.push_back(renamed(root + "final_layernorm", "model.norm"));
}

std::vector<TensorRule> megatron_rules() {
  std::vector<TensorRule> out = {kept("model.embed_tokens"), kept("model.norm"), kept("lm_head")};
  for (const char* root : {"", "model.", "transformer.", "language_model.", "transformer.encoder."})
    out.push_back(renamed(std::string(root) + "output_layer", "lm_head"));
  for (const char* embedding : {"embedding.word_embeddings",
                                "model.embedding.word_embeddings",
                                "transformer.embedding.word_embeddings",
                                "transformer.word_embeddings",
                                "language_model.embedding.word_embeddings"})
    out.push_back(renamed(embedding, "model.embed_tokens"));
  for (const char* root : {"model.",
                           "transformer.",
                           "transformer.encoder.",
                           "encoder.",
                           "decoder.",
                           "language_model.encoder."})
    add_megatron_layer(root, out);
  return out;
}

const Json& member(const Json& object, const char* key, std::string_view where) {
  const auto found = object.find(key);
  if (found == object.end()) fail(ErrorCode::data_loss, "{}: \"{}\" is missing", where, key);
  return *found;
}

std::string text_of(const Json& value, std::string_view where) {
  if (!value.is_string())
    fail(ErrorCode::data_loss, "{}: expected a string, got {}", where, value.type_name());
  return value.get<std::string>();
}

void expect_keys(const Json& object,
                 std::initializer_list<std::string_view> known,
                 std::string_view where) {
  if (!object.is_object())
    fail(ErrorCode::data_loss, "{}: expected an object, got {}", where, object.type_name());
  for (const auto& [key, value] : object.items())
    if (std::ranges::find(known, key) == known.end())
      fail(ErrorCode::data_loss,
           "{}: key \"{:.60}\" is not known; known are {}",
           where,
           key,
           fmt::join(known, ", "));
}

StackedRows rows_of(const Json& rule, size_t targets, std::string_view where) {
  const auto found = rule.find("rows");
  if (targets == 1) {
    if (found != rule.end())
      fail(ErrorCode::data_loss, "{}: \"rows\" goes with several names under \"to\"", where);
    return StackedRows::one;
  }
  const std::string said = text_of(member(rule, "rows", where), where);
  if (said == "in_order") return StackedRows::in_order;
  if (said == "by_kv_group") return StackedRows::by_kv_group;
  fail(ErrorCode::data_loss,
       "{}: rows \"{:.60}\": expected \"in_order\" (one behind the other, as \"to\" lists them) or "
       "\"by_kv_group\" (q, k and v of each KV head together)",
       where,
       said);
}

// A name that the rule makes must be one of Llama's, and differ from layer to layer.
void check_target(const TensorRule& rule, const NamePattern& to, std::string_view where) {
  if (to.has_layer() != rule.from.has_layer() || (to.has_part() && !rule.from.has_part()))
    fail(ErrorCode::data_loss,
         "{}: {} and {} must have the same places {{n}} and {{part}}",
         where,
         rule.from.text(),
         to.text());
  if (!is_decoder_tensor(to.fill({"0", "weight"}), true))
    fail(ErrorCode::data_loss,
         "{}: {}: no such tensor; expected model.embed_tokens.weight, model.norm.weight, "
         "lm_head.weight or, below model.layers.{{n}}, {} or {}, each with .weight or .bias",
         where,
         to.text(),
         fmt::join(kNorms, ", "),
         fmt::join(kMatrices, ", "));
}

void check_groups(const TensorRule& rule, std::string_view where) {
  if (rule.rows != StackedRows::by_kv_group) return;
  constexpr std::string_view kOrder[] = {".q_proj.", ".k_proj.", ".v_proj."};
  bool is_qkv = rule.to.size() == 3;
  for (size_t i = 0; is_qkv && i < 3; ++i)
    is_qkv = rule.to[i].text().find(kOrder[i]) != std::string::npos;
  if (!is_qkv)
    fail(ErrorCode::data_loss,
         "{}: rows by_kv_group: expected q_proj, k_proj and v_proj under \"to\", in this order",
         where);
}

TensorRule parse_rule(const Json& json, std::string_view where) {
  expect_keys(json, {"from", "to", "rows"}, where);
  return with_context(where, [&] {
    const std::string from = text_of(member(json, "from", where), where);
    TensorRule out{pattern(canonical_name(from)), {}, StackedRows::one};
    const Json& to = member(json, "to", where);
    if (to.is_null()) return out;
    if (to.is_array())
      for (const Json& one : to) out.to.push_back(pattern(text_of(one, where)));
    else
      out.to.push_back(pattern(text_of(to, where)));
    if (out.to.empty() || out.to.size() > 3)
      fail(ErrorCode::data_loss,
           "to: expected a name, two or three names, or null for a tensor to leave out");
    out.rows = rows_of(json, out.to.size(), where);
    for (const NamePattern& one : out.to) check_target(out, one, where);
    check_groups(out, where);
    return out;
  });
}

}  // namespace

NameFile read_name_file(const std::string& path) {
  const Json root = parse_stored_json(MappedFile(path).text(), path, kFileLimits);
  expect_keys(root, {"tensors", "config"}, path);
  NameFile out{{path, {}}, false, nullptr};
  Json changes = Json::object();
  if (const auto config = root.find("config"); config != root.end()) {
    if (!config->is_object())
      fail(ErrorCode::data_loss, "{}: config: expected an object of keys of config.json", path);
    changes = *config;
  }
  if (const auto rules = root.find("tensors"); rules != root.end()) {
    if (!rules->is_array() || rules->size() > kMostRules)
      fail(
          ErrorCode::data_loss, "{}: tensors: expected a list of up to {} rules", path, kMostRules);
    out.has_rules = true;
    changes[kRulesKey] = *rules;
    for (size_t i = 0; i < rules->size(); ++i)
      out.map.rules.push_back(parse_rule((*rules)[i], format("{}: tensors[{}]", path, i)));
  }
  out.changes = std::make_shared<const Json>(std::move(changes));
  for (TensorRule& rule : llama_rules()) out.map.rules.push_back(std::move(rule));
  return out;
}

const std::vector<NameMap>& spark_name_maps() {
  static const std::vector<NameMap> maps = {
      {"Llama", llama_rules()}, {"older iFlytek", older_rules()}, {"Megatron", megatron_rules()}};
  return maps;
}

bool is_decoder_tensor(std::string_view name, bool takes_parts) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  std::string_view module = name.substr(0, dot);
  const std::string_view part = name.substr(dot + 1);
  const bool is_plain = part == "weight" || part == "bias";
  if (module == "model.embed_tokens") return part == "weight" || (takes_parts && !is_plain);
  if (module == "model.norm") return is_plain;
  if (module == "lm_head") return is_plain || takes_parts;
  constexpr std::string_view kLayers = "model.layers.";
  if (!module.starts_with(kLayers)) return false;
  module.remove_prefix(kLayers.size());
  const size_t end = std::min(module.find('.'), module.size());
  module.remove_prefix(std::min(end + 1, module.size()));
  if (std::ranges::find(kNorms, module) != std::end(kNorms)) return is_plain;
  return std::ranges::find(kMatrices, module) != std::end(kMatrices) && (is_plain || takes_parts);
}

}  // namespace quern
