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
  schemas["Transcript"] = object_of(
      {{"text", text(), "", true},
       {"usage", object_of({{"type", text(), "", true}, {"seconds", count(), "", true}}), "", true},
       {"task", text(), "In verbose_json, as what follows"},
       {"language", text()},
       {"duration", number(0, 1e9)},
       {"segments", list_of(segment)}});
}

}  // namespace quern::openapi
