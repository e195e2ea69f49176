// SPDX-License-Identifier: Apache-2.0
#include "api/speech/transcript_format.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/json.h"

namespace quern {
namespace {

std::string trimmed_text(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \n\t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \n\t") - begin + 1);
}

// "00:01:02.345"
std::string clock_time(double seconds, char point) {
  const auto ms = static_cast<int64_t>(std::llround(seconds * 1000));
  return format("{:02}:{:02}:{:02}{}{:03}",
                ms / 3'600'000,
                ms / 60'000 % 60,
                ms / 1000 % 60,
                point,
                ms % 1000);
}

// A cue ends at an empty line, and "-->" would begin one.
std::string cue_text(const std::string& text) {
  std::string out = trimmed_text(text);
  for (size_t at = 0; (at = out.find("-->", at)) != std::string::npos; at += 2)
    out.replace(at, 3, "->");
  for (size_t at = 0; (at = out.find("\n\n", at)) != std::string::npos;) out.erase(at, 1);
  return out;
}

std::string cues(const TranscriptText& transcript, char point, bool is_numbered) {
  std::string out;
  for (size_t i = 0; i < transcript.segments.size(); ++i) {
    const TranscriptSegment& s = transcript.segments[i];
    if (is_numbered) out += format("{}\n", i + 1);
    out += format("{} --> {}\n{}\n\n",
                  clock_time(s.start, point),
                  clock_time(s.end, point),
                  cue_text(s.text));
  }
  return out;
}

Json usage_of(const TranscriptText& transcript) {
  return {{"type", "duration"}, {"seconds", static_cast<int64_t>(std::ceil(transcript.seconds))}};
}

Json segment_json(const TranscriptSegment& s, size_t id) {
  return {{"id", id},
          {"seek", s.seek},
          {"start", s.start},
          {"end", s.end},
          {"text", s.text},
          {"tokens", s.tokens},
          {"temperature", s.temperature},
          {"avg_logprob", s.mean_logprob},
          {"compression_ratio", s.compression},
          {"no_speech_prob", s.no_speech}};
}

Json verbose_json(const TranscriptText& transcript) {
  Json out = {{"task", transcript.translates ? "translate" : "transcribe"},
              {"language", transcript.language},
              {"duration", transcript.seconds},
              {"text", transcript.text()},
              {"segments", Json::array()}};
  for (size_t i = 0; i < transcript.segments.size(); ++i)
    out["segments"].push_back(segment_json(transcript.segments[i], i));
  out["usage"] = usage_of(transcript);
  return out;
}

}  // namespace

std::string TranscriptText::text() const {
  std::string out;
  for (const TranscriptSegment& segment : segments) out += segment.text;
  return trimmed_text(out);
}

TranscriptBody write_transcript(const TranscriptText& transcript, TranscriptFormat format) {
  const std::string plain = "text/plain; charset=utf-8", json = "application/json";
  switch (format) {
    case TranscriptFormat::text:
      return {plain, transcript.text() + "\n"};
    case TranscriptFormat::srt:
      return {plain, cues(transcript, ',', true)};
    case TranscriptFormat::vtt:
      return {"text/vtt; charset=utf-8", "WEBVTT\n\n" + cues(transcript, '.', false)};
    case TranscriptFormat::verbose_json:
      return {json, json_text(verbose_json(transcript))};
    default:
      return {json, json_text({{"text", transcript.text()}, {"usage", usage_of(transcript)}})};
  }
}

std::string transcript_delta(const std::string& text) {
  return json_text({{"type", "transcript.text.delta"}, {"delta", text}});
}

std::string transcript_done(const TranscriptText& transcript) {
  return json_text({{"type", "transcript.text.done"},
                    {"text", transcript.text()},
                    {"usage", usage_of(transcript)}});
}

}  // namespace quern
