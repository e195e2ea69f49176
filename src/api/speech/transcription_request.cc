// SPDX-License-Identifier: Apache-2.0
#include "api/speech/transcription_request.h"

#include <charconv>

#include "api/api_error.h"

namespace quern {
namespace {

constexpr size_t kMostPromptBytes = 16'384;

template <typename Number>
Number number_in(const FormPart& part, Number least, Number most) {
  Number value{};
  const char* end = part.value.data() + part.value.size();
  const auto [stop, error] = std::from_chars(part.value.data(), end, value);
  if (error != std::errc() || stop != end || !(value >= least && value <= most))
    fail_field(part.name,
               "{}: expected a number from {} to {}, got \"{:.40}\"",
               part.name,
               least,
               most,
               part.value);
  return value;
}

bool truth_in(const FormPart& part) {
  if (part.value == "true" || part.value == "True" || part.value == "1") return true;
  if (part.value == "false" || part.value == "False" || part.value == "0") return false;
  fail_field(part.name, "{}: expected true or false, got \"{:.40}\"", part.name, part.value);
}

TranscriptFormat format_in(const FormPart& part) {
  struct Named {
    std::string_view name;
    TranscriptFormat format;
  };
  static constexpr Named kFormats[] = {{"json", TranscriptFormat::json},
                                       {"verbose_json", TranscriptFormat::verbose_json},
                                       {"text", TranscriptFormat::text},
                                       {"srt", TranscriptFormat::srt},
                                       {"vtt", TranscriptFormat::vtt}};
  for (const Named& each : kFormats)
    if (part.value == each.name) return each.format;
  fail_field(part.name,
             "response_format: expected json, verbose_json, text, srt or vtt, got \"{:.40}\"",
             part.value);
}

void check_granularity(const FormPart& part) {
  if (part.value == "segment") return;
  if (part.value == "word")
    throw RequestError(ErrorCode::unsupported,
                       part.name,
                       "timestamp_granularities: times of words are not found by this version; "
                       "those of segments are",
                       "unsupported");
  fail_field(
      part.name, "timestamp_granularities: expected \"segment\", got \"{:.40}\"", part.value);
}

// True if the field is known.
bool read_field(const FormPart& part, TranscriptionRequest& r) {
  const std::string_view name = part.name;
  if (name == "file")
    r.file = part.value, r.file_name = part.file_name;
  else if (name == "model")
    r.model = part.value;
  else if (name == "language")
    r.language = part.value;
  else if (name == "prompt")
    r.prompt = part.value;
  else if (name == "response_format")
    r.format = format_in(part);
  else if (name == "temperature")
    r.temperature = number_in(part, 0.0, 2.0);
  else if (name == "seed")
    r.seed = number_in<uint64_t>(part, 0, UINT64_MAX);
  else if (name == "max_completion_tokens")
    r.max_tokens = number_in(part, 1, 1 << 20);
  else if (name == "stream")
    r.stream = truth_in(part);
  else if (name == "timestamp_granularities[]" || name == "timestamp_granularities")
    check_granularity(part);
  else
    return false;
  return true;
}

}  // namespace

TranscriptionRequest TranscriptionRequest::parse(const std::vector<FormPart>& form,
                                                 bool translates,
                                                 std::vector<std::string>& ignored) {
  TranscriptionRequest r;
  r.translates = translates;
  for (const FormPart& part : form)
    if (!read_field(part, r)) ignored.push_back(part.name.substr(0, 64));
  if (r.file.empty()) fail_field("file", "file: missing, or empty; expected a recording");
  if (r.prompt.size() > kMostPromptBytes)
    fail_field("prompt", "prompt: {} bytes, the limit is {}", r.prompt.size(), kMostPromptBytes);
  if (translates && !r.language.empty())
    fail_field("language", "language: a translation is into English, of whatever is heard");
  if (r.stream && r.has_times())
    fail_field("stream", "stream: only response_format json and text are streamed");
  return r;
}

}  // namespace quern
