// SPDX-License-Identifier: Apache-2.0
#include "weights/quantization_config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/error.h"
#include "base/file.h"
#include "weights/formats/compressed_targets.h"
#include "weights/tensor_names.h"

namespace quern {
namespace {

// The library's regular expressions recurse: what they are given is kept small.
constexpr size_t kMaxPattern = 512, kMaxModule = 512, kMaxRepeats = 8;

std::string lower(std::string text) {
  std::ranges::transform(
      text, text.begin(), [](char c) { return 'A' <= c && c <= 'Z' ? c - 'A' + 'a' : c; });
  return text;
}

// Where a model states its quantization: in config.json, or in a file beside it by the names that
// AutoGPTQ, AutoAWQ and ModelOpt gave it.
std::optional<Config> stated_by(const Config& model) {
  for (const Config& part : {model, model.sub_or_self("text_config")})
    for (const char* key : {"quantization_config", "compression_config"})
      if (auto found = part.find(key)) return found;
  constexpr std::string_view kConfig = "/config.json";
  if (!model.path().ends_with(kConfig)) return std::nullopt;
  const std::string folder = model.path().substr(0, model.path().size() - kConfig.size());
  for (const char* name : {"quantize_config.json", "quant_config.json", "hf_quant_config.json"}) {
    const std::string file = format("{}/{}", folder, name);
    if (file_exists(file)) return Config::read(file).sub_or_self("quantization");
  }
  return std::nullopt;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// The oldest files name no method: their keys tell who wrote them.
std::string method_of(const Config& fields) {
  const std::string stated = lower(fields.string_or("quant_method", ""));
  if (contains(stated, "auto-round")) {
    const std::string packing = lower(fields.string_or(
        "packing_format", fields.string_or("backend", fields.string_or("autoround_version", ""))));
    return contains(packing, "awq") ? "awq" : "gptq";
  }
  if (!stated.empty()) return stated;
  if (fields.has("quant_algo")) return "modelopt";
  if (fields.has("config_groups")) return "compressed-tensors";
  if (fields.has("load_in_4bit") || fields.has("load_in_8bit")) return "bitsandbytes";
  if (fields.has("w_bit") || fields.has("q_group_size") || fields.has("zero_point")) return "awq";
  return fields.has("bits") ? "gptq" : "";
}

// The first of `keys` that is there.
template <typename Read>
auto first_of(const Config& fields, std::initializer_list<const char*> keys, Read&& read)
    -> std::optional<decltype(read(""))> {
  for (const char* key : keys)
    if (fields.has(key)) return read(key);
  return std::nullopt;
}

// Counted repeats multiply the size of the automaton: the product of all counts in a pattern.
size_t repeats_of(std::string_view pattern) {
  size_t product = 1;
  for (size_t at = pattern.find('{'); at != std::string_view::npos && product <= kMaxRepeats;
       at = pattern.find('{', at + 1)) {
    size_t count = 0;
    for (size_t i = at + 1; i < pattern.size() && pattern[i] != '}'; ++i) {
      const bool is_digit = '0' <= pattern[i] && pattern[i] <= '9';
      count = is_digit ? std::min(10 * count + static_cast<size_t>(pattern[i] - '0'), size_t{1000})
                       : count;
      if (pattern[i] == ',' && i + 1 < pattern.size() && pattern[i + 1] != '}') count = 0;
    }
    product *= std::max<size_t>(count, 1);
  }
  return product;
}

// What one object states: the configuration itself, or what it overrides for some modules.
ModuleScheme scheme_in(const Config& fields) {
  constexpr int64_t kMaxGroup = int64_t{1} << 31;
  const auto boolean = [&](const char* key) { return fields.boolean(key); };
  ModuleScheme out;
  out.bits = first_of(fields, {"bits", "w_bit"}, [&](const char* key) {
    return static_cast<int>(fields.integer(key, 1, 32));
  });
  out.group_size = first_of(fields, {"group_size", "q_group_size"}, [&](const char* key) {
    return fields.integer(key, -1, kMaxGroup);
  });
  if (out.group_size == 0)
    fail(ErrorCode::data_loss,
         "{}: key group_size: expected a positive number, or -1 for one group, got 0",
         fields.path());
  out.symmetric = first_of(fields, {"sym"}, boolean);
  if (!out.symmetric)
    out.symmetric =
        first_of(fields, {"zero_point"}, [&](const char* key) { return !fields.boolean(key); });
  out.desc_act = first_of(fields, {"desc_act"}, boolean);
  out.is_excluded = out.bits.value_or(4) >= 16;
  return out;
}

// `over` where it states something, else `base`.
ModuleScheme merged(const ModuleScheme& base, const ModuleScheme& over) {
  ModuleScheme out = base;
  if (over.bits) out.bits = over.bits;
  if (over.group_size) out.group_size = over.group_size;
  if (over.symmetric) out.symmetric = over.symmetric;
  if (over.desc_act) out.desc_act = over.desc_act;
  out.is_excluded = over.is_excluded;
  return out;
}

}  // namespace

struct ModulePattern::Compiled {
  std::regex regex;
};

ModulePattern::ModulePattern(std::string_view pattern, std::string_view where) {
  if (pattern.size() > kMaxPattern || repeats_of(pattern) > kMaxRepeats)
    fail(ErrorCode::unsupported,
         "{}: \"{:.80}\": expected a pattern of at most {} characters that repeats parts at most "
         "{} times; name the modules, or write it in simpler terms",
         where,
         pattern,
         kMaxPattern,
         kMaxRepeats);
  try {
    // The polynomial matcher simulates an automaton: no pattern can make it run long or deep.
    compiled_ = std::make_shared<const Compiled>(Compiled{std::regex(
        pattern.begin(),
        pattern.end(),
        std::regex::ECMAScript | std::regex::nosubs | std::regex_constants::__polynomial)});
  } catch (const std::regex_error& e) {
    fail(ErrorCode::unsupported,
         "{}: \"{}\": no regular expression that this build reads ({}); name the modules, or "
         "write it in simpler terms",
         where,
         pattern,
         e.what());
  }
}

bool ModulePattern::matches(std::string_view module) const {
  if (module.size() > kMaxModule) return false;
  return std::ranges::any_of(spellings_of(module), [&](const std::string& name) {
    return std::regex_search(name, compiled_->regex, std::regex_constants::match_continuous);
  });
}

std::vector<std::string> spellings_of(std::string_view module) {
  const std::string name = canonical_name(module);
  std::vector<std::string> out = {name};
  struct Rule {
    std::string_view canonical;
    std::array<std::string_view, 2> stored;
  };
  static constexpr Rule kRules[] = {
      {"model.", {"model.language_model.", "language_model.model."}},
      {"lm_head", {"language_model.lm_head", ""}},
      {"visual.", {"model.visual.", ""}},
      {"audio_tower.", {"model.audio_tower.", ""}},
      {"multi_modal_projector.", {"model.multi_modal_projector.", ""}},
  };
  for (const Rule& rule : kRules)
    if (name.starts_with(rule.canonical))
      for (const std::string_view stored : rule.stored)
        if (!stored.empty())
          out.push_back(std::string(stored) + name.substr(rule.canonical.size()));
  return out;
}

QuantizationConfig::QuantizationConfig(const Config& model)
    : fields_(Config::parse("{}", model.path())) {
  const std::optional<Config> stated = stated_by(model);
  if (!stated) return;
  fields_ = *stated;
  is_stated_ = true;
  method_ = method_of(fields_);
  not_converted_ = first_of(fields_,
                            {"modules_to_not_convert", "ignored_layers", "llm_int8_skip_modules"},
                            [&](const char* key) { return fields_.strings(key); })
                       .value_or(std::vector<std::string>());
  if (method_ == "compressed-tensors")
    compressed_ = std::make_shared<const CompressedTargets>(fields_);
  if (method_ != "gptq" && method_ != "awq") return;
  scheme_ = scheme_in(fields_);
  read_extra();
  read_dynamic();
}

std::string QuantizationConfig::version() const {
  return lower(fields_.string_or("version", ""));
}

std::string QuantizationConfig::checkpoint_format() const {
  if (fields_.boolean_or("is_marlin_format", false)) return "marlin";
  return lower(fields_.string_or("checkpoint_format", fields_.string_or("format", "")));
}

std::string QuantizationConfig::quantizer() const {
  const std::optional<Config> meta = fields_.find("meta");
  if (!meta || !meta->has("quantizer")) return "";
  const Json& value = meta->json()["quantizer"];
  if (value.is_string()) return lower(value.get<std::string>());
  return lower(format("{}", fmt::join(meta->strings("quantizer"), ",")));
}

bool QuantizationConfig::is_not_converted(std::string_view module) const {
  const std::vector<std::string> names = spellings_of(module);
  return std::ranges::any_of(not_converted_, [&](const std::string& entry) {
    return !entry.empty() && std::ranges::any_of(names, [&](const std::string& name) {
      return contains(name, entry);
    });
  });
}

// GPTQModel: a map of patterns; "-:" excludes what it matches, "+:" or nothing overrides.
void QuantizationConfig::read_dynamic() {
  const std::optional<Config> dynamic = fields_.find("dynamic");
  if (!dynamic) return;
  for (const auto& [key, value] : dynamic->json().get_ref<const Json::object_t&>()) {
    std::string_view pattern = key;
    const bool excludes = pattern.starts_with("-:");
    if (excludes || pattern.starts_with("+:")) pattern.remove_prefix(2);
    ModuleScheme scheme;
    if (!excludes) scheme = scheme_in(dynamic->sub(key));
    scheme.is_excluded |= excludes;
    overrides_.push_back({ModulePattern(pattern, dynamic->path()), scheme});
  }
}

// AutoRound: a map of module names.
void QuantizationConfig::read_extra() {
  const std::optional<Config> extra = fields_.find("extra_config");
  if (!extra) return;
  for (const auto& [key, value] : extra->json().get_ref<const Json::object_t&>())
    extra_.insert_or_assign(canonical_name(key), scheme_in(extra->sub(key)));
}

ModuleScheme QuantizationConfig::scheme_of(std::string_view module) const {
  const auto extra = extra_.find(canonical_name(module));
  if (extra != extra_.end()) return merged(scheme_, extra->second);
  for (const Override& one : overrides_)
    if (one.pattern.matches(module)) return merged(scheme_, one.scheme);
  return scheme_;
}

}  // namespace quern
