// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/source_model.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "quantize/source_folder.h"
#include "weights/packed_store.h"
#include "weights/quantization_config.h"
#include "weights/tensor_names.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

constexpr std::string_view kLayers = "model.layers.";
// The tensor that stands for a matrix, whatever its format.
constexpr std::string_view kAnchors[] = {".weight", ".qweight", ".weight_packed"};
// Written by quantizers beside config.json, or describing files that are not carried over.
const std::set<std::string, std::less<>> kLeftOut = {"quantize_config.json",
                                                     "quant_config.json",
                                                     "hf_quant_config.json",
                                                     "quern-repair.json",
                                                     "quern-quantize.json",
                                                     "quern_names.json"};  // written by new names
constexpr int64_t kMaxLayers = 1000;

// 0 outside of the decoder's layers, else 1 + the layer. Layers beyond num_hidden_layers, which
// guess several tokens ahead, are not run.
int64_t unit_of(std::string_view name, int64_t layers) {
  if (!name.starts_with(kLayers)) return 0;
  const char* begin = name.data() + kLayers.size();
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), layer);
  if (error != std::errc() || layer < 0 || layer >= layers) return 0;
  return *end == '.' ? layer + 1 : 0;
}

std::string matrix_of(const Checkpoint& checkpoint, const std::string& tensor) {
  for (const std::string_view anchor : kAnchors) {
    if (!tensor.ends_with(anchor)) continue;
    if (anchor == ".weight" && checkpoint.info(tensor).shape.rank() < 2) return "";
    return tensor.substr(0, tensor.size() - anchor.size());
  }
  return "";
}

// The longest of `matrices` that `tensor` lies beneath.
const std::string* owner_of(const std::map<std::string, bool>& matrices, std::string tensor) {
  for (size_t dot = tensor.rfind('.'); dot != std::string::npos; dot = tensor.rfind('.')) {
    tensor.resize(dot);
    if (const auto it = matrices.find(tensor); it != matrices.end()) return &it->first;
  }
  return nullptr;
}

// Routers decide with small differences, and cost nothing.
bool is_linear(const Checkpoint& checkpoint, const std::string& name) {
  const std::string last = name.substr(name.rfind('.') + 1);
  if (last == "gate" || last == "router" || last == "shared_expert_gate") return false;
  const Shape shape = format_of(checkpoint, name).shape(checkpoint, name);
  return shape.rank() == 2 && shape[0] > 1 && shape[1] > 1;
}

// Whether `part` is one or more whole components of `name`.
bool has_part(std::string_view name, std::string_view part) {
  for (size_t at = name.find(part); at != std::string_view::npos; at = name.find(part, at + 1)) {
    const bool begins = at == 0 || name[at - 1] == '.';
    const size_t end = at + part.size();
    if (begins && (end == name.size() || name[end] == '.')) return true;
  }
  return false;
}

class Ignored {
 public:
  explicit Ignored(const std::vector<std::string>& entries) {
    for (const std::string& entry : entries) {
      Rule rule{entry, std::nullopt, false};
      if (entry.starts_with("re:")) rule.pattern.emplace(entry.substr(3), "--ignore");
      rules_.push_back(std::move(rule));
    }
  }
  bool matches(const std::string& name) {
    bool out = false;
    for (Rule& rule : rules_) {
      const bool hit = rule.pattern ? rule.pattern->matches(name) : has_part(name, rule.text);
      rule.was_used |= hit;
      out |= hit;
    }
    return out;
  }
  void expect_used() const {
    for (const Rule& rule : rules_)
      if (!rule.was_used)
        fail(ErrorCode::invalid_argument,
             "--ignore {}: no linear layer has such a name; they are called as "
             "model.layers.0.mlp.down_proj",
             rule.text);
  }

 private:
  struct Rule {
    std::string text;
    std::optional<ModulePattern> pattern;
    bool was_used;
  };
  std::vector<Rule> rules_;
};

Stored float_type_of(const Config& config) {
  const Config text = config.sub_or_self("text_config");
  const std::string fallback = config.string_or("torch_dtype", config.string_or("dtype", ""));
  const std::string type = text.string_or("torch_dtype", text.string_or("dtype", fallback));
  return type == "float16" ? Stored::f16 : Stored::bf16;
}

}  // namespace

SourceModel::SourceModel(const std::string& path,
                         const std::vector<std::string>& ignored,
                         const PaddingChoice& padding,
                         int64_t granule)
    : path_(path), is_gguf_(path.ends_with(".gguf")), checkpoint_(open_checkpoint(path)) {
  if (!is_gguf_ && !is_directory(path))
    fail(
        ErrorCode::unsupported,
        "{}: expected a folder with config.json, or a GGUF file: config.json says what a quantized "
        "checkpoint is",
        path);
  if (checkpoint_->total_bytes() == 0)
    fail(ErrorCode::not_found, "{}: holds no weights: is the download complete?", path);
  float_type_ = float_type_of(checkpoint_->config());
  padding_ = SourcePadding(checkpoint_->config(), padding, granule);
  if (!is_gguf_) read_spellings();
  sort_tensors(ignored);
}

void SourceModel::read_spellings() {
  const SourceFolder folder(path_);
  for (const WeightFile& file : folder.weights)
    for (const SafetensorsEntry& entry : file.header.entries)
      if (std::string name = canonical_name(entry.name); name != entry.name)
        spellings_[std::move(name)] = entry.name;
  for (const std::string& name : folder.others)
    if (!kLeftOut.contains(name) && !name.ends_with(".gguf")) others_.push_back(name);
}

void SourceModel::sort_tensors(const std::vector<std::string>& ignored) {
  Ignored rules(ignored);
  const std::vector<std::string> names = checkpoint_->names();
  std::map<std::string, bool> matrices;  // whether they are stored as codes
  const int64_t layers = checkpoint_->config()
                             .sub_or_self("text_config")
                             .integer_or("num_hidden_layers", kMaxLayers, 1, kMaxLayers);
  const auto unit_index = [&](const std::string& name) {
    return static_cast<size_t>(unit_of(name, layers));
  };
  size_t units = 1;
  for (const std::string& name : names) {
    units = std::max(units, unit_index(name) + 1);
    if (const std::string matrix = matrix_of(*checkpoint_, name); !matrix.empty())
      matrices[matrix] = format_of(*checkpoint_, matrix).name() != "plain";
  }
  units_.resize(units);
  std::set<std::string> chosen;
  for (const auto& [name, is_coded] : matrices) {
    SourceUnit& unit = units_[unit_index(name)];
    if (unit_index(name) > 0 && is_linear(*checkpoint_, name) && !rules.matches(name)) {
      unit.quantized.push_back(name);
      chosen.insert(name);
      continue;
    }
    if (is_coded) unit.widened.push_back(name);
    if (!name.ends_with("embed_tokens")) kept_.insert(name);
  }
  rules.expect_used();
  kept_.insert("lm_head");
  for (const std::string& name : names) {
    const std::string* owner = owner_of(matrices, name);
    const bool is_part = owner != nullptr && (chosen.contains(*owner) || matrices.at(*owner));
    if (!is_part || name == *owner + ".bias") units_[unit_index(name)].tensors.push_back(name);
  }
  if (chosen.empty()) fail(ErrorCode::invalid_argument, "{}: nothing is left to quantize", path_);
}

std::vector<std::string> SourceModel::kept() const {
  std::vector<std::string> out;
  for (const std::string& name : kept_) {
    const std::string stored = stored_name(name + ".weight");
    out.push_back(stored.substr(0, stored.size() - std::string_view(".weight").size()));
  }
  return out;
}

// Tensors that the file does not have are spelled as their neighbours are.
std::string SourceModel::stored_name(const std::string& canonical) const {
  if (const auto it = spellings_.find(canonical); it != spellings_.end()) return it->second;
  const size_t dot = canonical.rfind('.');
  const std::string prefix = canonical.substr(0, dot + 1);
  for (auto it = spellings_.lower_bound(prefix);
       it != spellings_.end() && it->first.starts_with(prefix);
       ++it)
    if (it->first.find('.', prefix.size()) == std::string::npos)
      return it->second.substr(0, it->second.rfind('.')) + canonical.substr(dot);
  return canonical;
}

Shape SourceModel::shape_of(const std::string& name) const {
  return padding_.padded(name, format_of(*checkpoint_, name).shape(*checkpoint_, name));
}

Tensor SourceModel::weights(const std::string& name) const {
  return padding_.padded(name, read_weights(*checkpoint_, name));
}

Tensor SourceModel::floats(const std::string& tensor) const {
  return padding_.padded(tensor, read_f32(*checkpoint_, tensor));
}

Json SourceModel::config() const {
  Json config = checkpoint_->config().json();
  for (const char* key : {"quantization_config", "compression_config"}) {
    config.erase(key);
    if (config.contains("text_config") && config["text_config"].is_object())
      config["text_config"].erase(key);
  }
  config.erase("quern_names");
  padding_.change(config);
  // A GGUF file of codes states float32; what is written here has the type of its floats.
  if (is_gguf_ && config.value("torch_dtype", "") == "float32")
    config["torch_dtype"] = float_type_ == Stored::f16 ? "float16" : "bfloat16";
  return config;
}

Hash128 SourceModel::identity() const {
  return identity_of(*checkpoint_, path_);
}

Tensor read_weights(const Checkpoint& checkpoint, const std::string& name) {
  checkpoint.read_ahead(name);
  Tensor out = dequantize(read_matrix(checkpoint, name));
  const auto values = out.span<float>();
  const auto bad = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
  if (bad != values.end()) {
    const int64_t at = bad - values.begin();
    fail(ErrorCode::data_loss,
         "{}: the weight at [{}, {}] is {}: the checkpoint is damaged, or was saved after a "
         "training step that failed",
         name,
         at / out.dim(1),
         at % out.dim(1),
         *bad);
  }
  checkpoint.give_back(name);
  return out;
}

}  // namespace quern
