// SPDX-License-Identifier: Apache-2.0
// ResizedMedia: a picture or clip at the size that the model sees it, as bytes: an eighth of what
// its values take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "media/image/image.h"
#include "media/media_input.h"

namespace quern {

struct ResizedMedia {
  MediaKind kind = MediaKind::image;
  std::vector<Image> frames;  // of one size; one for a picture
  double fps = 2.0;           // clips: of these frames
  int64_t tokens = 0;         // decoder tokens that it becomes

  size_t bytes() const {
    size_t sum = sizeof(ResizedMedia);
    for (const Image& frame : frames) sum += sizeof(Image) + frame.rgb.size();
    return sum;
  }
};

// What requests that show the same medium share: the bytes, and, while one of them is under way,
// the values that a tower takes. Safe from several threads at once.
class SharedMedia {
 public:
  explicit SharedMedia(ResizedMedia resized) : resized_(std::move(resized)) {}

  const ResizedMedia& resized() const { return resized_; }
  // The values that somebody still holds, else what `pack` makes.
  template <typename Pack>
  std::shared_ptr<const MediaInput> input(Pack pack) const {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const MediaInput> live = input_.lock();
    if (!live) input_ = live = std::make_shared<const MediaInput>(pack(resized_));
    return live;
  }

 private:
  const ResizedMedia resized_;
  mutable std::mutex mutex_;
  mutable std::weak_ptr<const MediaInput> input_;
};

}  // namespace quern
