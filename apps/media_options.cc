// SPDX-License-Identifier: Apache-2.0
#include "media_options.h"
#include "base/json.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {
namespace {

constexpr const char* kGroup = "Media";
constexpr std::string_view kLimitFlag = "--limit-mm-per-prompt";
constexpr std::string_view kProcessorFlag = "--mm-processor-kwargs";
constexpr int kMostMedia = 4096;
constexpr MediaKind kKinds[] = {MediaKind::image, MediaKind::video, MediaKind::audio};

std::string shown(const Json& value) {
  return json_text(value).substr(0, 64);
}

size_t index_of_kind(std::string_view name) {
  for (const MediaKind kind : kKinds)
    if (name == name_of(kind)) return static_cast<size_t>(kind);
  fail(ErrorCode::invalid_argument,
       "{}: {}: no such kind of media; expected image, video or audio",
       kLimitFlag,
       name.substr(0, 64));
}

int checked_count(int64_t count, std::string_view kind) {
  if (count < 0 || count > kMostMedia)
    fail(ErrorCode::invalid_argument,
         "{}: {}: expected a number from 0 to {}, got {}",
         kLimitFlag,
         kind,
         kMostMedia,
         count);
  return static_cast<int>(count);
}

int count_of(std::string_view text, std::string_view kind) {
  int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ErrorCode::invalid_argument,
         "{}: {}: expected a number, got \"{}\"",
         kLimitFlag,
         kind,
         text.substr(0, 64));
  return checked_count(count, kind);
}

// A number, or vLLM's object, of which the count is taken. Its sizes make vLLM plan memory for less
// than may come; here the plan follows from the range of pixels, which holds for every request.
int count_of(const Json& value, std::string_view kind) {
  if (value.is_number_integer()) return checked_count(value.get<int64_t>(), kind);
  if (!value.is_object())
    fail(ErrorCode::invalid_argument,
         "{}: {}: expected a number or {{\"count\": number}}, got {}",
         kLimitFlag,
         kind,
         shown(value));
  for (const auto& [key, item] : value.items())
    if (key != "count")
      fail(ErrorCode::invalid_argument,
           "{}: {}: {}: not supported: memory is planned for the largest picture that the model "
           "may be shown; make that smaller by {} '{{\"max_pixels\": …}}'",
           kLimitFlag,
           kind,
           key.substr(0, 64),
           kProcessorFlag);
  const auto count = value.find("count");
  if (count == value.end() || !count->is_number_integer())
    fail(ErrorCode::invalid_argument, "{}: {}: expected a count", kLimitFlag, kind);
  return checked_count(count->get<int64_t>(), kind);
}

void read_object(std::string_view text, std::array<int, 3>& counts) {
  const Json json = parse_json(text, kLimitFlag);
  for (const auto& [kind, value] : json.items()) {
    const size_t index = index_of_kind(kind);
    counts[index] = count_of(value, kind);
  }
}

void read_pairs(std::string_view text, std::array<int, 3>& counts) {
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view pair = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos)
      fail(ErrorCode::invalid_argument,
           "{}: expected {{\"image\": 4, \"video\": 1}}, image=4,video=1 or a number, got \"{}\"",
           kLimitFlag,
           pair.substr(0, 64));
    const std::string_view kind = pair.substr(0, equals);
    const size_t index = index_of_kind(kind);
    counts[index] = count_of(pair.substr(equals + 1), kind);
  }
}

void add_limits(CLI::App& command, MediaLimits& limits) {
  command
      .add_option("--allowed-media-domains",
                  limits.allowed_domains,
                  "hosts that media may be fetched from (none)")
      ->group(kGroup)
      ->delimiter(',');
  command
      .add_option("--allowed-local-media-path",
                  limits.allowed_local_path,
                  "folder that file:// media may lie in (none)")
      ->group(kGroup);
  command
      .add_option("--max-image-pixels", limits.max_pixels, "pixels of one picture, as it is sent")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option(
          "--max-media-bytes", limits.max_bytes, "bytes of one encoded picture or recording")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option(
          "--max-audio-seconds",
          limits.max_audio_seconds,
          "seconds of one recording, counted while it is decoded; a model's own limit may be "
          "lower")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 86'400));
  command
      .add_option_function<int64_t>(
          "--media-fetch-timeout",
          [&limits](int64_t s) { limits.fetch_timeout_ms = s * 1000; },
          "seconds for fetching one picture or recording (10)")
      ->group(kGroup)
      ->check(CLI::Range(1, 3600));
}

void add_counts(CLI::App& command, MediaLimits& limits) {
  command
      .add_option_function<std::string>(
          std::string(kLimitFlag),
          [&limits](const std::string& text) { read_media_counts(text, limits.max_per_prompt); },
          R"(media of one prompt: {"image": 4, "video": 1}, image=4,video=1, or one number for )"
          "every kind; also as --limit-mm-per-prompt.image 4 (32 of each)")
      ->group(kGroup);
  for (const MediaKind kind : kKinds) {
    int& count = limits.max_per_prompt[static_cast<size_t>(kind)];
    command
        .add_option(format("{}.{}", kLimitFlag, name_of(kind)),
                    count,
                    kind == MediaKind::image   ? "pictures of one prompt"
                    : kind == MediaKind::video ? "clips of one prompt"
                                               : "recordings of one prompt")
        ->group(kGroup)
        ->check(CLI::Range(0, kMostMedia));
  }
}

void add_processor(CLI::App& command, ProcessorOptions& processor) {
  command
      .add_option_function<std::string>(
          std::string(kProcessorFlag),
          [&processor](const std::string& text) {
            processor = ProcessorOptions::parse(parse_json(text, kProcessorFlag), kProcessorFlag);
          },
          R"(in the place of what the model's files say: {"min_pixels": 3136, "max_pixels": )"
          R"(1003520} of a resized picture, {"fps": 2, "max_frames": 768} of a clip; requests )"
          "narrow it further by their mm_processor_kwargs (docs/media.md)")
      ->group(kGroup);
  const auto add = [&](const char* key, auto& field, const char* help) {
    command.add_option(format("{}.{}", kProcessorFlag, key), field, help)
        ->group(kGroup)
        ->check(CLI::PositiveNumber);
  };
  add("min-pixels", processor.min_pixels, "least pixels of a resized picture");
  add("max-pixels", processor.max_pixels, "most pixels of a resized picture");
  add("fps", processor.fps, "frames that are taken of a second of a clip");
  add("num-frames", processor.num_frames, "frames that are taken of a clip, whatever its length");
  add("min-frames", processor.min_frames, "least frames that are taken of a clip");
  add("max-frames", processor.max_frames, "most frames that are taken of a clip");
}

}  // namespace

void read_media_counts(std::string_view text, std::array<int, 3>& counts) {
  std::array<int, 3> read = counts;
  const size_t first = text.find_first_not_of(" \t\n");
  if (first != std::string_view::npos && text[first] == '{')
    read_object(text, read);
  else if (text.find_first_not_of("0123456789") == std::string_view::npos && !text.empty())
    read.fill(count_of(text, "every kind"));
  else if (text.empty())
    fail(ErrorCode::invalid_argument, "{}: it is empty", kLimitFlag);
  else
    read_pairs(text, read);
  counts = read;
}

void add_media_options(CLI::App& command, MediaOptions& o) {
  add_limits(command, o.limits);
  add_counts(command, o.limits);
  add_processor(command, o.processor);
  command
      .add_option(
          "--mm-processor-cache-gb",
          o.cache_gb,
          "GiB of decoded and resized pictures, and of decoded recordings, that are kept for "
          "requests that show them again; 0: none")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 4096.0));
  command
      .add_option("--media-decoder",
                  o.decoder,
                  "where pictures and recordings are decoded: process (in processes of their own, "
                  "without rights, "
                  "whose end costs one request), in-process")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"process", "in-process"}));
  command
      .add_option("--media-decode-timeout",
                  o.decode_timeout_s,
                  "seconds for decoding one picture or recording in a process, and for waiting "
                  "until one is "
                  "free")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 3600));
}

void add_voice_options(CLI::App& command, std::string& folder) {
  command
      .add_option("--voices",
                  folder,
                  "for a model that speaks: a folder of recordings, NAME.wav (.flac, .ogg, .mp3), "
                  "with what is said in each in NAME.txt (docs/speech.md)")
      ->group("Speech");
}

}  // namespace quern
