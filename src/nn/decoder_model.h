// SPDX-License-Identifier: Apache-2.0
// DecoderModel: a decoder as a Model, with towers before it or without.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "nn/decoder.h"

namespace quern {

// Makes token rows of pictures and clips.
class VisionTower {
 public:
  virtual ~VisionTower() = default;
  // -> [tokens, D]; the probe sees "image_encoder_last_hidden" and "image_embeds".
  virtual Tensor operator()(Ctx& ctx, const MediaInput& media, Probe* probe) const = 0;
};

// Makes token rows of one window of a recording.
class AudioTower {
 public:
  virtual ~AudioTower() = default;
  // -> [media.tokens, D]; the probe sees "audio_encoder_last_hidden" and "audio_embeds".
  virtual Tensor operator()(Ctx& ctx, const MediaInput& media, Probe* probe) const = 0;
};

class DecoderModel final : public Model {
 public:
  struct Family {
    std::string_view architecture;  // "Qwen2VLForConditionalGeneration"
    std::string_view model_type;    // "qwen2_vl"
  };
  // Placeholder tokens that media rows replace.
  struct MediaTokens {
    int32_t image = -1, video = -1;

    // image_token_id and video_token_id, where they are absent those that were published.
    static MediaTokens from(const Config& root, int64_t vocab, const MediaTokens& published);
  };

  DecoderModel(const Builder& b, const Family& family, const DecoderConfig& config, Rope rope);
  // What the tower loaded through b counts as this model's. Only the first stage needs the tower:
  // later ones pass null.
  DecoderModel& take_pictures(const Builder& b,
                              std::unique_ptr<VisionTower> tower,
                              const MediaTokens& tokens);
  // Likewise.
  DecoderModel& take_sound(const Builder& b, std::unique_ptr<AudioTower> tower, int32_t token);

  const ModelInfo& info() const override { return info_; }
  KvSpec kv_spec() const override { return decoder_.kv_spec(); }
  int64_t weight_bytes() const override { return weight_bytes_; }
  Tensor encode(Ctx& ctx, const MediaInput& media, Probe* probe) const override;
  Tensor forward(Ctx& ctx, const Batch& batch, KvCache& kv, Probe* probe) const override {
    return decoder_(ctx, batch, kv, probe);
  }

 private:
  Decoder decoder_;
  std::unique_ptr<VisionTower> tower_;
  std::unique_ptr<AudioTower> audio_tower_;
  ModelInfo info_;
  int64_t weight_bytes_;
};

}  // namespace quern
