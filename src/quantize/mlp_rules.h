// SPDX-License-Identifier: Apache-2.0
// How each stored tensor of a gated MLP changes when its intermediate size grows, in every weight
// format: one table, so that padding, proof and undoing cannot differ.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>

#include "quantize/padding.h"
#include "weights/checkpoint.h"

namespace quern {

// GPTQ's g_idx, or weight_g_idx, of a down_proj [K]: the group of each channel.
struct GroupIndexPadding {
  int64_t groups = 0, group_size = 0;
  enum class Kind : uint8_t { zeros, natural, scattered } kind = Kind::natural;
};
// compressed-tensors' weight_shape: [N, K] in numbers.
struct ShapePadding {
  int axis = 0;
  int halves = 1;
};

struct PaddingRule {
  std::variant<AxisPadding, GroupIndexPadding, ShapePadding> how;
  // Groups of a scattered map are added behind the others, wherever the channels go.
  bool is_tail = false;
};

struct MlpRules {
  int64_t intermediate = 0;
  int64_t granule = 1;  // channels that a cut must keep together in every MLP
  int64_t modules = 0;  // linear layers that change
  bool only_tail = false;
  std::string why_only_tail;
  std::map<std::string, PaddingRule, std::less<>> rules;  // by canonical tensor name
};

// Which side of a linear layer's matrix grows with its MLP.
struct MlpSide {
  bool is_down = false;  // its inputs; else its outputs
  int halves = 1;        // 2: gate and up in one matrix
};
// By the end of its name: "….mlp.down_proj"; nullopt for what is no part of a gated MLP.
std::optional<MlpSide> mlp_side_of(std::string_view module);

// Of all MLPs whose size is config.json's intermediate_size. Throws unsupported naming tensor and
// reason where a format cannot hold channels that are exactly zero, data_loss where tensors and
// config disagree.
MlpRules mlp_rules(const Checkpoint& checkpoint);

// The tensor after its rule: shape, and bytes to `out`. The first throws data_loss where the rule
// is not one for this tensor; call it before the others with what was not made by mlp_rules().
Shape shape_after(const TensorInfo& tensor, const PaddingRule& rule, const Runs& runs);
void pad_tensor(const TensorInfo& tensor,
                std::span<const std::byte> bytes,
                const PaddingRule& rule,
                const Runs& runs,
                ByteSink out);
void unpad_tensor(const TensorInfo& original,
                  std::span<const std::byte> padded,
                  const PaddingRule& rule,
                  const Runs& runs,
                  ByteSink out);

}  // namespace quern
