// SPDX-License-Identifier: Apache-2.0
// One name per tensor, whatever tool saved the file.
#pragma once

#include <string>
#include <string_view>

namespace quern {

// Checkpoints of vision and speech models come with two generations of prefixes. The older,
// published one is canonical here:
//
//   model.language_model.X, language_model.model.X -> model.X
//   language_model.lm_head.X -> lm_head.X
//   model.visual.X -> visual.X
//   model.audio_tower.X -> audio_tower.X
//   model.multi_modal_projector.X -> multi_modal_projector.X
//
// A decoder that was saved without anything behind it (Qwen2Model: embedding models) lacks the
// first word:
//
//   embed_tokens.X, layers.X, norm.X -> model. in front
//
// Other names stay as they are.
std::string canonical_name(std::string_view stored);

}  // namespace quern
