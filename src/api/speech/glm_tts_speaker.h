// SPDX-License-Identifier: Apache-2.0
// GlmTtsSpeaker: the Speaker of a GLM-TTS folder: texts as they are read aloud, voices from a
// folder of recordings, sound by the networks beside the language model.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "api/speech/speaker.h"
#include "media/decoder/media_decoder.h"
#include "api/speech/glm_tts_networks.h"
#include "nn/owned_ctx.h"

namespace quern {

struct GlmTtsOptions {
  std::string folder;                     // of the model
  std::string voices;                     // NAME.wav (.flac, .ogg, .mp3) and NAME.txt; empty: none
  std::shared_ptr<MediaDecoder> decoder;  // of recordings
  OwnedCtx::Options computing;            // of the networks beside the language model
};

// The networks that make sound, and the memory and threads that they work with.
struct GlmTtsComputing;

class GlmTtsSpeaker final : public Speaker {
 public:
  // Loads what makes sound; what listens to recordings is loaded with the first of them. Throws
  // what the networks throw, and not_found for a folder of voices that is none, or a recording
  // without its text.
  GlmTtsSpeaker(const GlmTtsOptions& options, const Tokenizer& tokenizer);
  ~GlmTtsSpeaker() override;

  const GlmTtsTokens& tokens() const override { return tokens_; }
  int64_t rate_hz() const override { return kVocoderRateHz; }
  std::vector<std::vector<int32_t>> read(const std::string& text) const override;
  std::vector<std::string> voice_names() const override;
  std::shared_ptr<const Voice> voice(const std::string& name) override;
  std::shared_ptr<const Voice> listen(const std::string& recording,
                                      const std::string& transcript) override;
  std::unique_ptr<SpeechRender> render(std::shared_ptr<const Voice> voice,
                                       const RenderOptions& options) override;

 private:
  struct Known {
    std::string recording, text;         // paths
    std::shared_ptr<const Voice> voice;  // once it was asked for
  };
  const GlmTtsTokens tokens_;
  const Tokenizer& tokenizer_;
  GlmTtsOptions options_;
  std::shared_ptr<GlmTtsComputing> computing_;
  std::mutex listening_;  // to one recording at a time; guards what follows
  std::unique_ptr<ListeningNetworks> ears_;
  std::map<std::string, Known> voices_;
};

}  // namespace quern
