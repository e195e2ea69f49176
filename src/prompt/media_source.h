// SPDX-License-Identifier: Apache-2.0
// MediaSource: turns what a message says about a medium into decoded pixels or samples, within
// limits.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "media/audio/sound.h"
#include "media/decoder/media_decoder.h"
#include "media/image/image.h"
#include "media/media_input.h"
#include "prompt/media_cache.h"
#include "prompt/processor_options.h"

namespace quern {

// A medium as it was sent: encoded, not looked into.
struct EncodedMedia {
  MediaKind kind = MediaKind::image;
  std::vector<std::string> files;  // one picture, the frames of a clip, a video file, a recording
  bool is_video_file = false;
  double fps = 2.0;  // clips: frames per second
  // What the message asks for. It narrows the model's range of pixels, never widens it.
  ProcessorOptions options = {};

  // Of all of the above: equal keys, equal media for one model.
  MediaKey key() const;
};

// A medium, decoded but not yet resized: one picture, the frames of a clip, or a recording.
struct OpenedMedia {
  MediaKind kind = MediaKind::image;
  std::vector<Image> frames;  // one for a picture, none for a recording
  double fps = 2.0;           // clips: frames per second
  bool is_sampled = false;    // clips: these are the frames that were chosen, of a video file
  ProcessorOptions options = {};
  Sound sound = {};  // of a recording, at the rate that was asked for
};

struct MediaLimits {
  size_t max_bytes = size_t{32} << 20;     // of one file, encoded
  int64_t max_pixels = int64_t{64} << 20;  // of one picture, from its header, before decoding
  std::array<int, 3> max_per_prompt = {32, 32, 32};  // media of one prompt, by MediaKind
  int max_frames_per_clip = 768;
  size_t max_clip_bytes = size_t{256} << 20;              // of all frames of a clip, encoded
  int64_t max_clip_pixels = int64_t{256} << 20;           // of all frames of a clip, as decoded
  int64_t max_audio_seconds = SoundLimits().max_seconds;  // of one recording, decoded
  int64_t fetch_timeout_ms = 10'000;
  // http(s) hosts, each also as "*.example.com"; "*": all; empty: none. Addresses that are not
  // public are refused even then.
  std::vector<std::string> allowed_domains;
  std::string allowed_local_path;  // file:// below this folder; empty: none

  int max_count(MediaKind kind) const { return max_per_prompt[static_cast<size_t>(kind)]; }
};

// "image", "video", "audio": what content parts and flags call a kind.
std::string_view name_of(MediaKind kind);

// What a content part of a message carries, judged by its type and keys; empty for text.
std::optional<MediaKind> media_kind_of(const Json& part);

struct MediaStats {
  MediaCacheStats cache;
  int64_t decoder_losses = 0;  // see MediaDecoder
};

class MediaSource {
 public:
  // Without a decoder, media are decoded in this process; without a cache, each time.
  explicit MediaSource(MediaLimits limits = {},
                       std::shared_ptr<MediaDecoder> decoder = nullptr,
                       std::shared_ptr<MediaCache> cache = nullptr);
  const MediaLimits& limits() const { return limits_; }
  MediaCache* cache() const { return cache_.get(); }  // null: none
  MediaStats stats() const;

  // The bytes behind one content part of a message that carries media: {"type": "image_url" |
  // "image" | "video" | "video_url", …}; a clip is a list of pictures ("video": [url, …], "fps":
  // frames per second) or a video file, where the build decodes them. "min_pixels" and "max_pixels"
  // may stand beside. A recording is {"type": "audio_url" | "audio", …} with a URL, or
  // {"type": "input_audio", "input_audio": {"data": base64, "format": "wav"}}. Throws
  // invalid_argument (what is wrong with it), unsupported, exhausted (over a limit) or unavailable
  // (the host did not answer). `where` names it in messages
  // ("messages[1].content[0]").
  EncodedMedia fetch_part(const Json& part, std::string_view where) const;
  // Throws what MediaDecoder throws, but damage is invalid_argument, and exhausted over a limit of
  // clips; the frame of a clip is named ("video[3]"), the part is not.
  // Of a video file, `rule` says which frames; a recording comes at `rate_hz`.
  OpenedMedia decode(const EncodedMedia& media,
                     const FrameRule& rule = {},
                     int64_t rate_hz = 16'000) const;

  // Both at once: of a part, and of a data:, http(s) or file:// URL of a picture.
  OpenedMedia open_part(const Json& part, std::string_view where) const;
  OpenedMedia open_image(std::string_view url, std::string_view where) const;

 private:
  std::string fetch_video(const Json* source, std::string_view where) const;
  std::string fetch_sound(const Json& part, std::string_view where) const;
  std::vector<std::string> fetch_frames(const Json* frames, std::string_view where) const;
  Image decode_one(const std::string& bytes) const;

  MediaLimits limits_;
  std::shared_ptr<MediaDecoder> decoder_;
  std::shared_ptr<MediaCache> cache_;
};

}  // namespace quern
