// SPDX-License-Identifier: Apache-2.0
// POST /v1/audio/transcriptions and /v1/audio/translations, as they come over the wire.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/speech/form_data.h"

namespace quern {

enum class TranscriptFormat : uint8_t { json, verbose_json, text, srt, vtt };

struct TranscriptionRequest {
  std::string model;      // empty: the served one
  std::string file;       // encoded sound
  std::string file_name;  // as the client calls it
  std::string language;   // "en"; empty: found out
  std::string prompt;     // text before the recording
  bool translates = false;
  bool stream = false;
  TranscriptFormat format = TranscriptFormat::json;
  std::optional<double> temperature;  // empty, 0: raised where a text is not sound
  std::optional<uint64_t> seed;
  int max_tokens = 0;  // of each window; 0: what there is room for

  bool has_times() const {
    return format != TranscriptFormat::json && format != TranscriptFormat::text;
  }
  // Throws RequestError naming the field. `ignored` gets the names of unknown fields.
  static TranscriptionRequest parse(const std::vector<FormPart>& form,
                                    bool translates,
                                    std::vector<std::string>& ignored);
};

}  // namespace quern
