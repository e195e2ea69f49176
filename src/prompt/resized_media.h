// SPDX-License-Identifier: Apache-2.0
// ResizedMedia: a picture or clip at the size that the model sees it, as bytes: an eighth of what
// its values take; a recording as the samples that the model hears; and what becomes of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "media/image/image.h"
#include "media/media_input.h"

namespace quern {

struct ResizedMedia {
  MediaKind kind = MediaKind::image;
  std::vector<Image> frames;         // of one size; one for a picture, none for a recording
  double fps = 2.0;                  // clips: of these frames
  std::vector<double> seconds = {};  // when each was taken, for models that are told
  int64_t tokens = 0;                // decoder tokens that it becomes
  std::vector<float> samples = {};   // recordings, at the model's rate

  size_t bytes() const {
    size_t sum =
        sizeof(ResizedMedia) + seconds.size() * sizeof(double) + samples.size() * sizeof(float);
    for (const Image& frame : frames) sum += sizeof(Image) + frame.rgb.size();
    return sum;
  }
};

// What stands in a prompt in the place of one medium's placeholder: pieces, each with a span of its
// own between two texts. Most media are one piece.
struct MediaPiece {
  std::shared_ptr<const MediaInput> input;
  std::string before = {}, after = {};  // "<|begin_of_image|>", "<|end_of_image|>12"
};

// What requests that show the same medium share: the bytes, and, while one of them is under way,
// the values that a tower takes. Safe from several threads at once.
class SharedMedia {
 public:
  explicit SharedMedia(ResizedMedia resized) : resized_(std::move(resized)) {}

  const ResizedMedia& resized() const { return resized_; }
  // The values that somebody still holds, else what `pack` makes. Who holds one piece keeps all.
  template <typename Pack>
  std::vector<MediaPiece> pieces(Pack pack) const {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const std::vector<MediaPiece>> live = pieces_.lock();
    if (!live) pieces_ = live = std::make_shared<const std::vector<MediaPiece>>(pack(resized_));
    std::vector<MediaPiece> out = *live;
    for (MediaPiece& piece : out) piece.input = {live, piece.input.get()};
    return out;
  }

 private:
  const ResizedMedia resized_;
  mutable std::mutex mutex_;
  mutable std::weak_ptr<const std::vector<MediaPiece>> pieces_;
};

}  // namespace quern
