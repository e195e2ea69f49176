// SPDX-License-Identifier: Apache-2.0
#include "nn/decoder_model.h"

namespace quern {

DecoderModel::MediaTokens DecoderModel::MediaTokens::from(const Config& root,
                                                          int64_t vocab,
                                                          const MediaTokens& published) {
  const auto id = [&](std::string_view key, int32_t fallback) {
    return static_cast<int32_t>(root.integer_or(key, fallback, 0, vocab - 1));
  };
  return {.image = id("image_token_id", published.image),
          .video = id("video_token_id", published.video)};
}

DecoderModel::DecoderModel(const Builder& b,
                           const Family& family,
                           const DecoderConfig& config,
                           Rope rope)
    : decoder_(b, config, std::move(rope)),
      info_(decoder_.info(family.architecture, family.model_type)),
      weight_bytes_(b.loaded_bytes()) {}

DecoderModel& DecoderModel::take_pictures(const Builder& b,
                                          std::unique_ptr<VisionTower> tower,
                                          const MediaTokens& tokens) {
  tower_ = std::move(tower);
  info_.has_vision = true;
  info_.image_token = tokens.image;
  info_.video_token = tokens.video;
  weight_bytes_ = b.loaded_bytes();
  return *this;
}

DecoderModel& DecoderModel::take_sound(const Builder& b,
                                       std::unique_ptr<AudioTower> tower,
                                       int32_t token) {
  audio_tower_ = std::move(tower);
  info_.has_audio = true;
  info_.audio_token = token;
  weight_bytes_ = b.loaded_bytes();
  return *this;
}

Tensor DecoderModel::encode(Ctx& ctx, const MediaInput& media, Probe* probe) const {
  const bool is_sound = media.kind == MediaKind::audio;
  if (!(is_sound ? info_.has_audio : info_.has_vision)) return Model::encode(ctx, media, probe);
  if (is_sound && audio_tower_) return (*audio_tower_)(ctx, media, probe);
  if (!is_sound && tower_) return (*tower_)(ctx, media, probe);
  return ctx.empty({media.tokens, 0});  // a later stage, which embeds nothing
}

}  // namespace quern
