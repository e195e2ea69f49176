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

// The content says what it is; a name that no format here has says that it would not be read.
void check_sound_format(const Json& sound, std::string_view where) {
  constexpr std::string_view kNames[] = {"wav", "mp3", "flac", "ogg", "opus"};
  const auto name = sound.find("format");
  if (name == sound.end() || name->is_null()) return;
  if (!name->is_string() ||
      std::ranges::find(kNames, name->get_ref<const std::string&>()) == std::end(kNames))
    fail(ErrorCode::invalid_argument,
         "{}.input_audio.format: expected wav, mp3, flac, ogg or opus",
         where);
}

// What is damaged is the sender's, not the server's, fault.
template <typename Decode>
auto blaming_the_sender(Decode decode) {
  try {
    return decode();
  } catch (const Error& e) {
    if (e.code() != ErrorCode::data_loss) throw;
    throw Error(ErrorCode::invalid_argument, e.message());
  }
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

std::string_view name_of(MediaKind kind) {
  switch (kind) {
    case MediaKind::image:
      return "image";
    case MediaKind::video:
      return "video";
    case MediaKind::audio:
      return "audio";
  }
  return "";
}

MediaKey EncodedMedia::key() const {
  MediaKeyMaker maker;
  maker.add(static_cast<int64_t>(kind));
  maker.add(static_cast<int64_t>(is_video_file));
  maker.add(fps);
  for (const int64_t option : {options.min_pixels,
                               options.max_pixels,
                               options.num_frames,
                               options.min_frames,
                               options.max_frames})
    maker.add(option);
  maker.add(options.fps);
  for (const std::string& file : files) maker.add(std::as_bytes(std::span(file)));
  return maker.key();
}

MediaSource::MediaSource(MediaLimits limits,
                         std::shared_ptr<MediaDecoder> decoder,
                         std::shared_ptr<MediaCache> cache)
    : limits_(std::move(limits)),
      decoder_(decoder ? std::move(decoder) : std::make_shared<InProcessDecoder>()),
      cache_(std::move(cache)) {}

MediaStats MediaSource::stats() const {
  return {.cache = cache_ ? cache_->stats() : MediaCacheStats(),
          .decoder_losses = decoder_->losses()};
}

Image MediaSource::decode_one(const std::string& bytes) const {
  return blaming_the_sender([&] {
    return decoder_->decode(std::as_bytes(std::span(bytes)),
                            {limits_.max_bytes, limits_.max_pixels});
  });
}

// One file; without a decoder for it, it is not even fetched.
std::string MediaSource::fetch_video(const Json* source, std::string_view where) const {
  if (!source || !source->is_string())
    fail(ErrorCode::invalid_argument,
         "{}: expected a clip as a list of pictures, \"video\": [url, …]{}",
         where,
         has_video_decoder() ? ", or the URL of a video file" : "");
  if (!has_video_decoder()) with_context(where, [] { decode_clip({}, {}, {}); });
  return with_context(where, [&] { return read_url(string_of(source, where), limits_); });
}

std::vector<std::string> MediaSource::fetch_frames(const Json* frames,
                                                   std::string_view where) const {
  if (frames->empty() || frames->size() > static_cast<size_t>(limits_.max_frames_per_clip))
    fail(ErrorCode::exhausted,
         "{}: a clip of {} frames; 1 to {} are accepted",
         where,
         frames->size(),
         limits_.max_frames_per_clip);
  std::vector<std::string> files;
  size_t bytes = 0;
  for (size_t i = 0; i < frames->size(); ++i) {
    const std::string frame = format("{}.video[{}]", where, i);
    const std::string_view url = string_of(&(*frames)[i], frame);
    files.push_back(with_context(frame, [&] { return read_url(url, limits_); }));
    bytes += files.back().size();
    if (bytes > limits_.max_clip_bytes)
      fail(ErrorCode::exhausted,
           "{}: its frames have more than {} bytes together",
           where,
           limits_.max_clip_bytes);
  }
  return files;
}

// {"input_audio": {"data": base64, "format": "wav"}}, or a URL.
std::string MediaSource::fetch_sound(const Json& part, std::string_view where) const {
  const auto inside = part.find("input_audio");
  if (inside == part.end()) {
    const Json* source = source_of(part, "audio_url", "audio");
    if (!source || !source->is_string())
      fail(ErrorCode::invalid_argument, "{}: expected the URL of a recording as a string", where);
    return with_context(where,
                        [&] { return read_url(source->get_ref<const std::string&>(), limits_); });
  }
  const Json* data = inside->is_object() && inside->contains("data") ? &(*inside)["data"] : nullptr;
  if (!data || !data->is_string())
    fail(ErrorCode::invalid_argument,
         "{}.input_audio: expected {{\"data\": \"base64…\", \"format\": \"wav\"}}",
         where);
  check_sound_format(*inside, where);
  const auto& text = data->get_ref<const std::string&>();
  return with_context(format("{}.input_audio.data", where), [&] {
    if (text.starts_with("data:")) return decode_data_url(text, limits_.max_bytes);
    if (text.size() / 4 * 3 > limits_.max_bytes + 2)
      fail(ErrorCode::exhausted, "it is larger than {} bytes", limits_.max_bytes);
    return decode_base64(text);
  });
}

EncodedMedia MediaSource::fetch_part(const Json& part, std::string_view where) const {
  const std::optional<MediaKind> kind = media_kind_of(part);
  if (!kind) fail(ErrorCode::unsupported, "{}: expected a picture, a clip or a recording", where);
  EncodedMedia media;
  media.kind = *kind;
  if (kind == MediaKind::video) {
    const Json* source = source_of(part, "video_url", "video");
    media.fps = positive_number(part, "fps", 2.0, where);
    media.is_video_file = !source || !source->is_array();
    if (media.is_video_file)
      media.files.push_back(fetch_video(source, where));
    else
      media.files = fetch_frames(source, where);
  } else if (kind == MediaKind::audio) {
    media.files.push_back(fetch_sound(part, where));
  } else {
    const std::string_view url = string_of(source_of(part, "image_url", "image"), where);
    media.files.push_back(with_context(where, [&] { return read_url(url, limits_); }));
  }
  media.options.min_pixels = static_cast<int64_t>(positive_number(part, "min_pixels", 0, where));
  media.options.max_pixels = static_cast<int64_t>(positive_number(part, "max_pixels", 0, where));
  return media;
}

OpenedMedia MediaSource::decode(const EncodedMedia& media,
                                const FrameRule& rule,
                                int64_t rate_hz) const {
  OpenedMedia out{.kind = media.kind, .frames = {}, .fps = media.fps, .options = media.options};
  if (media.kind == MediaKind::audio) {
    out.sound = blaming_the_sender([&] {
      return decoder_->decode_sound(
          std::as_bytes(std::span(media.files.at(0))),
          rate_hz,
          {.max_bytes = limits_.max_bytes, .max_seconds = limits_.max_audio_seconds});
    });
    return out;
  }
  if (media.is_video_file) {
    Clip clip = blaming_the_sender([&] {
      return decoder_->decode_clip(std::as_bytes(std::span(media.files.at(0))),
                                   rule,
                                   {.max_bytes = limits_.max_bytes,
                                    .max_pixels = limits_.max_pixels,
                                    .max_clip_pixels = limits_.max_clip_pixels});
    });
    out.frames = std::move(clip.frames);
    out.fps = clip.fps;
    out.is_sampled = true;
    return out;
  }
  if (media.kind == MediaKind::image) {
    out.frames.push_back(decode_one(media.files.at(0)));
    return out;
  }
  int64_t pixels = 0;
  for (size_t i = 0; i < media.files.size(); ++i) {
    out.frames.push_back(
        with_context(format("video[{}]", i), [&] { return decode_one(media.files[i]); }));
    pixels += out.frames.back().width * out.frames.back().height;
    if (pixels > limits_.max_clip_pixels)
      fail(ErrorCode::exhausted,
           "its frames have more than {} pixels together",
           limits_.max_clip_pixels);
  }
  return out;
}

OpenedMedia MediaSource::open_part(const Json& part, std::string_view where) const {
  const EncodedMedia media = fetch_part(part, where);
  return with_context(where, [&] { return decode(media); });
}

OpenedMedia MediaSource::open_image(std::string_view url, std::string_view where) const {
  return with_context(where, [&] {
    EncodedMedia media;
    media.files.push_back(read_url(url, limits_));
    return decode(media);
  });
}

}  // namespace quern
