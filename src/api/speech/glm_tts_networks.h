// SPDX-License-Identifier: Apache-2.0
// What stands beside the language model of GLM-TTS, from the files of its folder: networks that
// make sound of speech tokens, and networks that listen to a voice.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "media/audio/magnitude_mel.h"
#include "media/audio/reference_sound.h"
#include "models/glm_tts/campplus.h"
#include "models/glm_tts/flow.h"
#include "models/glm_tts/speech_tokenizer.h"
#include "models/glm_tts/vocoder.h"

namespace quern {

// A voice, as the networks see it.
struct VoicePrint {
  std::vector<int32_t> tokens;  // of the recording, 25 a second
  std::vector<float> mel;       // [frames, bands]
  std::vector<float> speaker;   // of its 192 numbers
};

struct SpeakingNetworks {
  // `folder`: flow/flow.safetensors or .pt with flow/config.yaml, hift/hift.safetensors or .pt.
  // Packs for ctx. Throws not_found naming the files that were looked for, and what the networks
  // throw.
  SpeakingNetworks(const std::string& folder, const Ctx& ctx);

  // Borrows from `voice`.
  FlowInput input(const VoicePrint& voice, std::span<const int32_t> tokens) const {
    return {voice.tokens, tokens, voice.mel, voice.speaker};
  }

  FlowModel flow;
  HiftVocoder vocoder;
};

// speech_tokenizer/ of that folder.
SpeechTokenizer open_speech_tokenizer(const std::string& folder, const Ctx& ctx);

struct ListeningNetworks {
  // `folder`: speech_tokenizer/, and frontend/campplus.onnx or .safetensors (or without frontend/).
  ListeningNetworks(const std::string& folder, const Ctx& ctx);

  // Slow. Throws invalid_argument for a recording that is too short.
  VoicePrint operator()(Ctx& ctx, const ReferenceSound& recording) const;

  SpeechTokenizer tokenizer;
  SpeakerEncoder speaker;
  MagnitudeMel mel;
};

}  // namespace quern
