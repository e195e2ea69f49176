// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/source_padding.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "quantize/mlp_rules.h"
#include "quantize/repair.h"
#include "quantize/source_folder.h"

namespace quern {
namespace {

constexpr const char *kDense = "intermediate_size", *kExpert = "moe_intermediate_size";
constexpr int64_t kMaxWidth = 1 << 24;

// "….mlp.experts.7.up_proj" → "….mlp.up_proj", and what was left out.
std::string without_expert(std::string_view module, std::string_view& part) {
  constexpr std::string_view kMlp = ".mlp.";
  const size_t mlp = module.find(kMlp), last = module.rfind('.');
  if (mlp == std::string_view::npos || last < mlp + kMlp.size()) return std::string(module);
  part = module.substr(mlp + kMlp.size(), last - mlp - kMlp.size());
  return std::string(module.substr(0, mlp + kMlp.size())).append(module.substr(last + 1));
}

}  // namespace

SourcePadding::SourcePadding(const Config& config, const PaddingChoice& choice, int64_t granule) {
  if (!choice.is_asked()) return;
  const Config text = config.sub_or_self("text_config");
  const auto grow = [&](const char* key) {
    const int64_t before = text.integer(key, 1, kMaxWidth);
    RepairRequest wanted;
    wanted.multiple = choice.multiple;
    wanted.degrees = choice.degrees;
    keys_[key] = {before, padded_size(wanted, before, granule)};
  };
  grow(kDense);
  if (!text.has(kExpert)) return;
  grow(kExpert);
  shared_ = text.integer_or("n_shared_experts", 0, 0, 1024);
}

std::optional<SourcePadding::Side> SourcePadding::of(std::string_view name) const {
  if (keys_.empty() || !name.starts_with("model.layers.")) return std::nullopt;
  const bool is_bias = name.ends_with(".bias");
  if (is_bias || name.ends_with(".weight")) name = name.substr(0, name.rfind('.'));
  std::string_view expert;
  const std::optional<MlpSide> side = mlp_side_of(without_expert(name, expert));
  if (!side || (is_bias && side->is_down)) return std::nullopt;
  Growth growth;
  if (expert.empty()) {
    growth = keys_.at(kDense);
  } else if (const auto it = keys_.find(kExpert); it != keys_.end()) {
    growth = it->second;
    if (expert == "shared_experts") growth = {shared_ * growth.before, shared_ * growth.after};
  }
  if (growth.before == growth.after) return std::nullopt;
  Side out;
  out.axis.axis = side->is_down ? 1 : 0;
  out.axis.halves = side->halves;
  out.axis.fill = {0};
  out.axis.fill_axis = out.axis.axis;
  out.growth = growth;
  return out;
}

Shape SourcePadding::padded(std::string_view name, const Shape& shape) const {
  const std::optional<Side> side = of(name);
  if (!side) return shape;
  const int axis = side->axis.axis;
  if (shape.rank() <= axis || shape[axis] != side->axis.halves * side->growth.before)
    fail(
        ErrorCode::data_loss,
        "{}: expected {} along axis {} by config.json, got {}: config and weights are of different "
        "checkpoints",
        name,
        side->axis.halves * side->growth.before,
        axis,
        shape.text());
  Shape out = shape;
  out.set(axis, side->axis.halves * side->growth.after);
  return out;
}

Tensor SourcePadding::padded(std::string_view name, const Tensor& values) const {
  if (!grows(name)) return values;
  Tensor out = Tensor::empty(padded(name, values.shape()), DType::f32);
  std::byte* to = out.raw();
  const Tensor from = values.contiguous();
  const TensorInfo info{std::string(name), Stored::f32, from.shape(), {}};
  write(info, {from.raw(), static_cast<size_t>(from.bytes())}, [&](std::span<const std::byte> b) {
    std::memcpy(to, b.data(), b.size());
    to += b.size();
  });
  return out;
}

void SourcePadding::write(const TensorInfo& tensor,
                          std::span<const std::byte> bytes,
                          ByteSink out) const {
  const std::optional<Side> side = of(tensor.name);
  QUERN_CHECK(side.has_value(), "{}", tensor.name);
  (void)padded(tensor.name, tensor.shape);
  pad_axis(tensor, bytes, side->axis, tail_runs(side->growth.before, side->growth.after), out);
}

void SourcePadding::change(Json& config) const {
  for (const auto& [key, growth] : keys_) change_size(config, key, growth.before, growth.after);
}

Json SourcePadding::report() const {
  Json out = Json::object();
  for (const auto& [key, growth] : keys_)
    if (growth.before != growth.after) out[key] = {growth.before, growth.after};
  return out;
}

}  // namespace quern
