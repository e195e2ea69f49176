// SPDX-License-Identifier: Apache-2.0
// MediaSource: turns what a message says about a medium into decoded pixels, within limits.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "media/image/image.h"
#include "media/media_input.h"

namespace quern {

// A medium, decoded but not yet resized: one picture, or the frames of a clip.
struct OpenedMedia {
  MediaKind kind = MediaKind::image;
  std::vector<Image> frames;  // one for a picture
  double fps = 2.0;           // clips: frames per second
  // Limits on the resized size that the message states; 0: the model's own. They narrow the model's
  // range, never widen it.
  int64_t min_pixels = 0, max_pixels = 0;
};

struct MediaLimits {
  size_t max_bytes = size_t{32} << 20;     // of one file, encoded
  int64_t max_pixels = int64_t{64} << 20;  // of one picture, from its header, before decoding
  int max_images_per_prompt = 32;
  int max_frames_per_clip = 768;
  int64_t max_clip_pixels = int64_t{256} << 20;  // of all frames of a clip, as decoded
  int64_t fetch_timeout_ms = 10'000;
  // http(s) hosts, each also as "*.example.com"; "*": all; empty: none. Addresses that are not
  // public are refused even then.
  std::vector<std::string> allowed_domains;
  std::string allowed_local_path;  // file:// below this folder; empty: none
};

// What a content part of a message carries, judged by its type and keys; empty for text.
std::optional<MediaKind> media_kind_of(const Json& part);

class MediaSource {
 public:
  explicit MediaSource(MediaLimits limits = {});
  const MediaLimits& limits() const { return limits_; }

  // A data: URL, http(s) URL or file:// URL of a picture. Throws invalid_argument (what is wrong
  // with it), unsupported (format), exhausted (over a limit) or unavailable (the host did not
  // answer). `where` names it in messages ("messages[1].content[0]").
  OpenedMedia open_image(std::string_view url, std::string_view where) const;
  // One content part of a message that carries media: {"type": "image_url" | "image" | "video" |
  // "video_url", …}; a clip is a list of pictures ("video": [url, …], "fps": frames per second).
  // "min_pixels" and "max_pixels" may stand beside.
  OpenedMedia open_part(const Json& part, std::string_view where) const;

 private:
  OpenedMedia open_clip(const Json& part, std::string_view where) const;

  MediaLimits limits_;
};

}  // namespace quern
