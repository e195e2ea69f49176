// SPDX-License-Identifier: Apache-2.0
// A transcript as clients want it: JSON after OpenAI's, text, SubRip or WebVTT.
#pragma once

#include <string>
#include <vector>

#include "api/speech/transcription_request.h"

namespace quern {

struct TranscriptSegment {
  double start = 0, end = 0;  // seconds
  std::string text = {};
  std::vector<int32_t> tokens = {};
  int64_t seek = 0;  // frame at which its window begins
  double temperature = 0, mean_logprob = 0, compression = 0, no_speech = 0;
};

struct TranscriptText {
  std::string language;  // empty: not known
  double seconds = 0;    // of the recording
  bool translates = false;
  std::vector<TranscriptSegment> segments;

  std::string text() const;  // of all of them, without blanks at its ends
};

struct TranscriptBody {
  std::string content_type, body;
};
TranscriptBody write_transcript(const TranscriptText& transcript, TranscriptFormat format);

// Events of a stream, after OpenAI's.
std::string transcript_delta(const std::string& text);
std::string transcript_done(const TranscriptText& transcript);

}  // namespace quern
