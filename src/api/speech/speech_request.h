// SPDX-License-Identifier: Apache-2.0
// POST /v1/audio/speech, as it comes over the wire: OpenAI's fields, and vLLM-Omni's for a voice
// that comes with the request.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "media/audio/sound_writer.h"

namespace quern {

struct SpeechRequest {
  std::string model;  // empty: the served one
  std::string input;  // what is to be said
  std::string voice;  // a name; empty: the only one, or that of the recording
  std::string recording, transcript;  // encoded sound of a voice, and what it says; empty: none
  SpeechFormat format = SpeechFormat::mp3;
  bool has_events = false;  // server-sent events, with the sound in base64; else the sound itself
  bool in_blocks = false;   // it begins before a piece of text is wholly said
  bool is_greedy = false;   // the likeliest token each time
  std::optional<uint64_t> seed;

  // Throws RequestError naming the field. `ignored` gets the names of unknown fields.
  static SpeechRequest parse(const Json& body, std::vector<std::string>* ignored = nullptr);
};

}  // namespace quern
