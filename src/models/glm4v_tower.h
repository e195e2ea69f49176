// SPDX-License-Identifier: Apache-2.0
// The vision tower of the GLM-4.1V line; one file for the dense and the expert models, which differ
// in the merger's width alone. Private to the room.
#pragma once

#include <memory>

#include "nn/decoder_model.h"

namespace quern {

// `b` at the root; null on stages after the first. `decoder_width` is what the tokens must be as
// wide as: a vision_config that says otherwise is refused.
std::unique_ptr<VisionTower> make_glm4v_tower(const Builder& b, int64_t decoder_width);

// The tokens that stand for media. Pictures and frames of clips share the picture's token: the
// clip's own is gone once its frames stand in the prompt.
DecoderModel::MediaTokens glm4v_media_tokens(const Config& root, int64_t vocab, int32_t published);

}  // namespace quern
