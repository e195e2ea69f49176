// SPDX-License-Identifier: Apache-2.0
#include "api/speech/speech_request.h"

#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/field_reader.h"
#include "prompt/data_url.h"

namespace quern {
namespace {

constexpr size_t kMostCharacters = 4096;  // OpenAI's own limit
constexpr size_t kMostRecordingBytes = size_t{32} << 20;

size_t characters_of(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

std::string input_of(FieldReader& fields) {
  std::string input = fields.string("input").value_or("");
  if (input.empty()) fail_field("input", "input: missing; expected the text to be said");
  if (const size_t count = characters_of(input); count > kMostCharacters)
    fail_field("input", "input: {} characters, the limit is {}", count, kMostCharacters);
  return input;
}

// "alloy", or {"id": "alloy"}.
std::string voice_of(FieldReader& fields) {
  const Json* voice = fields.find("voice");
  if (!voice || !voice->is_object()) return fields.string("voice").value_or("");
  FieldReader named(*voice, "voice.");
  std::string id = named.string("id").value_or("");
  if (id.empty()) fail_field("voice.id", "voice.id: missing; expected the name of a voice");
  return id;
}

// A data URL, or base64 alone.
std::string recording_of(FieldReader& fields) {
  const std::string text = fields.string("ref_audio").value_or("");
  if (text.empty()) return "";
  try {
    return text.starts_with("data:") ? decode_data_url(text, kMostRecordingBytes)
                                     : decode_base64(text);
  } catch (const Error& error) {
    fail_field("ref_audio",
               "ref_audio: expected a recording in base64, or as a data: URL: {}",
               error.what());
  }
}

SpeechFormat format_of(FieldReader& fields) {
  const std::string name = fields.string("response_format").value_or("mp3");
  if (const auto format = speech_format_of(name)) return *format;
  fail_field("response_format",
             "response_format: expected \"mp3\", \"opus\", \"flac\", \"wav\" or \"pcm\", got "
             "\"{}\"",
             name.substr(0, 64));
}

bool has_events_in(FieldReader& fields) {
  const std::string name = fields.string("stream_format").value_or("audio");
  if (name != "audio" && name != "sse")
    fail_field("stream_format",
               "stream_format: expected \"audio\" or \"sse\", got \"{}\"",
               name.substr(0, 64));
  return name == "sse";
}

}  // namespace

SpeechRequest SpeechRequest::parse(const Json& body, std::vector<std::string>* ignored) {
  FieldReader fields(body);
  SpeechRequest out;
  out.model = fields.string("model").value_or("");
  out.input = input_of(fields);
  out.voice = voice_of(fields);
  out.recording = recording_of(fields);
  out.transcript = fields.string("ref_text").value_or("");
  if (out.recording.empty() != out.transcript.empty())
    fail_field(out.recording.empty() ? "ref_audio" : "ref_text",
               "ref_audio and ref_text: a recording and what it says go together");
  if (!out.recording.empty() && !out.voice.empty())
    fail_field("voice", "voice: with ref_audio the voice is that of the recording");
  out.format = format_of(fields);
  out.has_events = has_events_in(fields);
  out.in_blocks = fields.boolean_or("stream", false);
  if (const auto temperature = fields.number("temperature", 0, 2)) {
    out.is_greedy = *temperature == 0;
    if (*temperature != 0 && *temperature != 1)
      fail_field("temperature",
                 "temperature: expected 1, the rule that this model speaks by, or 0, the likeliest "
                 "token each time; got {}",
                 *temperature);
  }
  if (const auto seed = fields.integer("seed", 0, INT64_MAX))
    out.seed = static_cast<uint64_t>(*seed);
  fields.refuse("speed", "this model speaks as fast as the recording of its voice", 1);
  fields.refuse("instructions", "this model takes none");
  fields.ignore({"user"});
  std::vector<std::string> unknown = fields.reject_misspelt();
  if (ignored) *ignored = std::move(unknown);
  return out;
}

}  // namespace quern
