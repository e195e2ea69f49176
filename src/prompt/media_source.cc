// SPDX-License-Identifier: Apache-2.0
#include "prompt/media_source.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "prompt/data_url.h"
#include "prompt/fetch.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

// Whether `path` lies below `folder`; both canonical: no "..", no links left.
bool is_below(const fs::path& path, const fs::path& folder) {
  const auto [mismatch, rest] =
      std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return mismatch == folder.end() && rest != path.end();
}

std::string read_local(std::string_view url, const MediaLimits& limits) {
  constexpr std::string_view kScheme = "file://", kHost = "localhost";
  if (limits.allowed_local_path.empty())
    fail(ErrorCode::invalid_argument,
         "file:// URLs are not allowed: no folder for them is; send a data: URL");
  std::string_view rest = url.substr(kScheme.size());
  if (rest.starts_with(kHost)) rest.remove_prefix(kHost.size());
  const std::string name = decode_percent(rest);
  if (!name.starts_with('/') || name.find('\0') != std::string::npos)
    fail(ErrorCode::invalid_argument, "expected file:///absolute/path");
  std::error_code error;
  const fs::path folder = fs::canonical(limits.allowed_local_path, error);
  if (error)
    fail(ErrorCode::unavailable, "the folder for file:// URLs cannot be read: {}", error.message());
  const fs::path path = fs::canonical(name, error);
  // The same answer for what is missing and what is elsewhere: files outside cannot be probed.
  if (error || !is_below(path, folder) || !fs::is_regular_file(path, error))
    fail(ErrorCode::invalid_argument,
         "no such file below the folder that file:// URLs are allowed from");
  if (fs::file_size(path, error) > limits.max_bytes)
    fail(ErrorCode::exhausted, "the file is larger than {} bytes", limits.max_bytes);
  return read_file(path.string(), limits.max_bytes);
}

std::string read_url(std::string_view url, const MediaLimits& limits) {
  if (url.starts_with("data:")) return decode_data_url(url, limits.max_bytes);
  if (url.starts_with("file://")) return read_local(url, limits);
  if (url.starts_with("http://") || url.starts_with("https://"))
    return fetch_url(std::string(url),
                     {.max_bytes = limits.max_bytes,
                      .timeout_ms = limits.fetch_timeout_ms,
                      .allowed_domains = limits.allowed_domains});
  fail(ErrorCode::invalid_argument,
       "expected a URL that begins with data:, http://, https:// or file://, got \"{}\"",
       url.substr(0, std::min<size_t>(url.size(), 40)));
}

// "image_url": {"url": …} or a string; "image": a string. Null if the key is absent.
const Json* source_of(const Json& part, const char* nested, const char* flat) {
  for (const char* key : {nested, flat, "url"}) {
    const auto found = part.find(key);
    if (found == part.end() || found->is_null()) continue;
    if (!found->is_object()) return &*found;
    const auto url = found->find("url");
    if (url != found->end()) return &*url;
  }
  return nullptr;
}

std::string_view string_of(const Json* source, std::string_view where) {
  if (!source || !source->is_string())
    fail(ErrorCode::invalid_argument, "{}: expected the URL of a picture as a string", where);
  return source->get_ref<const std::string&>();
}

double positive_number(const Json& part, const char* key, double fallback, std::string_view where) {
  const auto found = part.find(key);
  if (found == part.end() || found->is_null()) return fallback;
  const double value = found->is_number() ? found->get<double>() : 0;
  if (!(value > 0 && value < 1e9))
    fail(ErrorCode::invalid_argument, "{}.{}: expected a positive number", where, key);
  return value;
}

}  // namespace

std::optional<MediaKind> media_kind_of(const Json& part) {
  if (!part.is_object()) return std::nullopt;
  const auto found = part.find("type");
  const std::string type =
      found != part.end() && found->is_string() ? found->get<std::string>() : std::string();
  const auto is = [&](std::string_view name, const char* url_key) {
    return type == name || type == url_key || part.contains(name) || part.contains(url_key);
  };
  if (is("video", "video_url")) return MediaKind::video;
  if (is("image", "image_url") || type == "input_image") return MediaKind::image;
  if (is("audio", "audio_url") || is("audio", "input_audio")) return MediaKind::audio;
  return std::nullopt;
}

MediaSource::MediaSource(MediaLimits limits) : limits_(std::move(limits)) {}

OpenedMedia MediaSource::open_image(std::string_view url, std::string_view where) const {
  return with_context(where, [&] {
    const std::string bytes = read_url(url, limits_);
    OpenedMedia media;
    media.frames.push_back(
        decode_image(std::as_bytes(std::span(bytes)), {limits_.max_bytes, limits_.max_pixels}));
    return media;
  });
}

OpenedMedia MediaSource::open_clip(const Json& part, std::string_view where) const {
  const Json* frames = source_of(part, "video_url", "video");
  if (!frames || !frames->is_array())
    fail(ErrorCode::unsupported,
         "{}: a clip is sent as a list of pictures, \"video\": [url, …]; video files are not "
         "decoded",
         where);
  if (frames->empty() || frames->size() > static_cast<size_t>(limits_.max_frames_per_clip))
    fail(ErrorCode::exhausted,
         "{}: a clip of {} frames; 1 to {} are accepted",
         where,
         frames->size(),
         limits_.max_frames_per_clip);
  OpenedMedia media{
      .kind = MediaKind::video, .frames = {}, .fps = positive_number(part, "fps", 2.0, where)};
  int64_t pixels = 0;
  for (size_t i = 0; i < frames->size(); ++i) {
    const std::string frame = format("{}.video[{}]", where, i);
    media.frames.push_back(std::move(open_image(string_of(&(*frames)[i], frame), frame).frames[0]));
    pixels += media.frames.back().width * media.frames.back().height;
    if (pixels > limits_.max_clip_pixels)
      fail(ErrorCode::exhausted,
           "{}: its frames have more than {} pixels together",
           where,
           limits_.max_clip_pixels);
  }
  return media;
}

OpenedMedia MediaSource::open_part(const Json& part, std::string_view where) const {
  const std::optional<MediaKind> kind = media_kind_of(part);
  if (!kind || kind == MediaKind::audio)
    fail(ErrorCode::unsupported,
         "{}: expected a picture or a clip; recordings are not supported",
         where);
  OpenedMedia media =
      kind == MediaKind::video
          ? open_clip(part, where)
          : open_image(string_of(source_of(part, "image_url", "image"), where), where);
  media.min_pixels = static_cast<int64_t>(positive_number(part, "min_pixels", 0, where));
  media.max_pixels = static_cast<int64_t>(positive_number(part, "max_pixels", 0, where));
  return media;
}

}  // namespace quern
