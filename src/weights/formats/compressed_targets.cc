// SPDX-License-Identifier: Apache-2.0
#include "weights/formats/compressed_targets.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"

namespace quern {
namespace {

constexpr std::string_view kPattern = "re:", kLinear = "Linear";
constexpr size_t kMaxPatterns = 512, kMaxGroups = 512;
constexpr int64_t kMaxBlock = int64_t{1} << 31;

// "128x128", or [128, 128].
BlockSize block_structure(const Config& weights) {
  constexpr const char* kKey = "block_structure";
  if (!weights.has(kKey)) return {128, 128};
  std::vector<int64_t> sizes;
  if (weights.json().at(kKey).is_string()) {
    const std::string text = weights.string(kKey);
    int64_t rows = 0, cols = 0;
    if (std::sscanf(text.c_str(), "%9ldx%9ld", &rows, &cols) == 2) sizes = {rows, cols};
  } else {
    sizes = weights.integers(kKey);
  }
  if (sizes.size() != 2 || std::ranges::min(sizes) < 1 || std::ranges::max(sizes) > kMaxBlock)
    fail(ErrorCode::data_loss,
         "{}: key block_structure: expected two positive sizes, got {}",
         weights.path(),
         weights.json().at(kKey).dump().substr(0, 80));
  return {sizes[0], sizes[1]};
}

// Null for what divides no weights, as "token" does.
std::optional<BlockSize> block_of(const Config& weights) {
  const int64_t group = weights.integer_or("group_size", 0, -1, kMaxBlock);
  const std::string strategy = weights.string_or("strategy",
                                                 group > 0   ? "group"
                                                 : group < 0 ? "channel"
                                                             : "tensor");
  if (strategy == "tensor") return BlockSize{0, 0};
  if (strategy == "channel") return BlockSize{1, 0};
  if (strategy == "block") return block_structure(weights);
  if (strategy != "group" && strategy != "tensor_group") return std::nullopt;
  if (group == 0)
    fail(ErrorCode::data_loss,
         "{}: key group_size: expected a number other than 0 for strategy {}",
         weights.path(),
         strategy);
  return BlockSize{1, std::max<int64_t>(group, 0)};
}

CompressedScheme scheme_in(const Config& weights, std::string format) {
  CompressedScheme out;
  std::ranges::transform(format, format.begin(), [](char c) {
    return 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  out.format = std::move(format);
  if (weights.has("num_bits")) out.bits = static_cast<int>(weights.integer("num_bits", 1, 32));
  out.is_float = weights.string_or("type", "int") == "float";
  out.block = block_of(weights);
  out.has_column_order = weights.has("actorder") && weights.json().at("actorder").is_string() &&
                         weights.string("actorder") == "group";
  return out;
}

std::vector<std::string> list_of(const Config& fields, const char* key) {
  return fields.has(key) ? fields.strings(key) : std::vector<std::string>();
}

}  // namespace

const CompressedScheme* compressed_scheme(const Checkpoint& checkpoint, std::string_view prefix) {
  static constexpr std::array<std::string_view, 9> kKnown = {"",
                                                             "dense",
                                                             "mixed-precision",
                                                             "pack-quantized",
                                                             "int-quantized",
                                                             "float-quantized",
                                                             "naive-quantized",
                                                             "nvfp4-pack-quantized",
                                                             "mxfp4-pack-quantized"};
  const CompressedTargets* targets = checkpoint.quantization().compressed();
  const CompressedScheme* scheme = targets == nullptr ? nullptr : targets->scheme_of(prefix);
  if (scheme != nullptr && std::ranges::find(kKnown, scheme->format) == kKnown.end())
    fail(ErrorCode::unsupported,
         "{}: {}: format {}: this build reads pack-quantized, int-quantized, float-quantized, "
         "nvfp4-pack-quantized and mxfp4-pack-quantized; take the checkpoint it was made from, or "
         "save it again in one of these",
         prefix,
         checkpoint.quantization().fields().path(),
         scheme->format);
  return scheme;
}

void warn_if_stated_plain(const Checkpoint& checkpoint, std::string_view prefix) {
  const QuantizationConfig& config = checkpoint.quantization();
  const CompressedTargets* targets = config.compressed();
  if (targets != nullptr ? targets->scheme_of(prefix) != nullptr : !config.is_not_converted(prefix))
    return;
  log(LogLevel::warn,
      "weights module={} event=\"quantized in the file, excluded by {}: the file wins\"",
      prefix,
      config.fields().path());
}

void warn_if_stated_quantized(const Checkpoint& checkpoint, std::string_view prefix) {
  const QuantizationConfig& config = checkpoint.quantization();
  const CompressedTargets* targets = config.compressed();
  if (targets == nullptr || targets->scheme_of(prefix) == nullptr) return;
  log(LogLevel::warn,
      "weights module={} event=\"plain in the file, quantized by {}: the file wins\"",
      prefix,
      config.fields().path());
}

bool is_linear_name(std::string_view module) {
  static constexpr std::array<std::string_view, 8> kOthers = {"embed_tokens",
                                                              "wte",
                                                              "word_embeddings",
                                                              "embed_positions",
                                                              "position_embedding",
                                                              "pos_embed",
                                                              "gate",
                                                              "router"};
  const size_t dot = module.rfind('.');
  const std::string_view last = dot == std::string_view::npos ? module : module.substr(dot + 1);
  return std::ranges::find(kOthers, last) == kOthers.end();
}

ModuleList::ModuleList(const std::vector<std::string>& entries, std::string_view where) {
  for (const std::string& entry : entries) {
    if (!entry.starts_with(kPattern)) {
      names_.insert(entry);
      continue;
    }
    if (patterns_.size() == kMaxPatterns)
      fail(ErrorCode::unsupported, "{}: more than {} patterns of modules", where, kMaxPatterns);
    patterns_.emplace_back(std::string_view(entry).substr(kPattern.size()), where);
  }
}

bool ModuleList::names(std::string_view module) const {
  return !names_.empty() &&
         std::ranges::any_of(spellings_of(module),
                             [this](const std::string& name) { return names_.contains(name); });
}

bool ModuleList::matches(std::string_view module) const {
  return std::ranges::any_of(
      patterns_, [module](const ModulePattern& pattern) { return pattern.matches(module); });
}

bool ModuleList::has_class_of(std::string_view module) const {
  return names_.contains(kLinear) && is_linear_name(module);
}

CompressedTargets::CompressedTargets(const Config& fields)
    : ignored_(list_of(fields, "ignore"), fields.path() + ": ignore") {
  const std::optional<Config> groups = fields.find("config_groups");
  if (!groups) return;
  const std::string format = fields.string_or("format", "");
  for (const auto& [key, value] : groups->json().get_ref<const Json::object_t&>()) {
    const Config group = groups->sub(key);
    const std::optional<Config> weights = group.find("weights");
    if (!weights) continue;
    if (groups_.size() == kMaxGroups)
      fail(ErrorCode::unsupported, "{}: more than {} groups", groups->path(), kMaxGroups);
    groups_.push_back({ModuleList(list_of(group, "targets"), group.path() + ": targets"),
                       scheme_in(*weights, group.string_or("format", format))});
  }
}

const CompressedScheme* CompressedTargets::scheme_of(std::string_view module) const {
  if (ignored_.holds(module)) return nullptr;
  for (const auto claims : {&ModuleList::names, &ModuleList::matches, &ModuleList::has_class_of})
    for (const Group& group : groups_)
      if ((group.targets.*claims)(module)) return &group.scheme;
  return nullptr;
}

}  // namespace quern
