// SPDX-License-Identifier: Apache-2.0
#include "server/openapi_fields.h"

namespace quern::openapi {
namespace {

std::vector<Field> form_fields() {
  return {
      {"file", {{"type", "string"}, {"format", "binary"}}, "WAV, FLAC, Ogg or MP3", true},
      {"model", text(), "One of the served names; left out: the model"},
      {"prompt", text(), "Text before the recording"},
      {"response_format", {{"enum", Json::array({"json", "verbose_json", "text", "srt", "vtt"})}}},
      {"temperature", number(0, 2), "0, or left out: raised where a text is not sound"},
      {"timestamp_granularities[]", {{"enum", Json::array({"segment"})}}},
      {"stream", flag(), "With json and text"},
      {"seed", {{"type", "integer"}, {"minimum", 0}}},
      {"max_completion_tokens", integer(1, 1 << 20), "Of each window of 30 seconds"}};
}

std::vector<Field> speech_fields() {
  return {{"input", text(), "The text: at most 4096 characters", true},
          {"model", text(), "One of the served names; left out: the model"},
          {"voice",
           one_of(Json::array({text(), object_of({{"id", text(), "", true}})})),
           "One of /v1/audio/voices; left out: the only one"},
          {"ref_audio", text(), "Instead a recording of the voice, in base64 or as a data: URL"},
          {"ref_text", text(), "What is said in it, word for word"},
          {"response_format", {{"enum", Json::array({"mp3", "opus", "flac", "wav", "pcm"})}}},
          {"stream_format", {{"enum", Json::array({"audio", "sse"})}}},
          {"stream", flag(), "The sound begins before a piece of text is wholly said"},
          {"temperature", number(0, 2), "1, or 0: the likeliest token each time"},
          {"seed", {{"type", "integer"}, {"minimum", 0}}},
          {"speed", number(0, 4), "1: this model has one speed"},
          {"instructions", text(), "Refused unless empty"},
          {"user", text(), "Changes nothing"}};
}

}  // namespace

void add_speech(Json& schemas) {
  std::vector<Field> fields = form_fields();
  schemas["TranslationForm"] = object_of(fields);
  fields.push_back({"language", text(), "\"en\"; left out: what the model hears"});
  schemas["TranscriptionForm"] = object_of(fields);
  const Json segment = object_of({{"id", count(), "", true},
                                  {"seek", count(), "The frame at which its window begins", true},
                                  {"start", number(0, 1e9), "Seconds", true},
                                  {"end", number(0, 1e9), "", true},
                                  {"text", text(), "", true},
                                  {"tokens", list_of(token_id()), "", true},
                                  {"temperature", number(0, 2), "", true},
                                  {"avg_logprob", typed("number"), "", true},
                                  {"compression_ratio", number(0, 1e9), "", true},
                                  {"no_speech_prob", number(0, 1), "", true}});
  schemas["SpeechRequest"] = object_of(speech_fields());
  schemas["VoiceList"] = object_of({{"voices", list_of(text()), "", true}});
  schemas["Transcript"] = object_of(
      {{"text", text(), "", true},
       {"usage", object_of({{"type", text(), "", true}, {"seconds", count(), "", true}}), "", true},
       {"task", text(), "In verbose_json, as what follows"},
       {"language", text()},
       {"duration", number(0, 1e9)},
       {"segments", list_of(segment)}});
}

}  // namespace quern::openapi
