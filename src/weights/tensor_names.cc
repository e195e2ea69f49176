// SPDX-License-Identifier: Apache-2.0
#include "weights/tensor_names.h"

namespace quern {

std::string canonical_name(std::string_view stored) {
  struct Rule {
    std::string_view from, to;
  };
  static constexpr Rule kRules[] = {
      {"model.language_model.", "model."},
      {"language_model.model.", "model."},
      {"language_model.lm_head.", "lm_head."},
      {"model.visual.", "visual."},
      {"model.audio_tower.", "audio_tower."},
      {"model.multi_modal_projector.", "multi_modal_projector."},
      {"embed_tokens.", "model.embed_tokens."},
      {"layers.", "model.layers."},
      {"norm.", "model.norm."},
  };
  for (const Rule& rule : kRules)
    if (stored.starts_with(rule.from))
      return std::string(rule.to) + std::string(stored.substr(rule.from.size()));
  return std::string(stored);
}

}  // namespace quern
