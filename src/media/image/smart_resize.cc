// SPDX-License-Identifier: Apache-2.0
// The rule: transformers 5.23, smart_resize of image_processing_qwen2_vl.py and
// image_processing_glm4v.py.
#include "media/image/smart_resize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

constexpr double kMaxAspect = 200;
constexpr int64_t kMaxSide = int64_t{1} << 24, kMaxFrames = 1 << 12;  // products stay below 2^63

// std::nearbyint rounds half to even in the default rounding mode.
int64_t round_to(int64_t side, int64_t factor) {
  return static_cast<int64_t>(
             std::nearbyint(static_cast<double>(side) / static_cast<double>(factor))) *
         factor;
}

void check_aspect(ImageSize size) {
  const auto [low, high] = std::minmax(size.height, size.width);
  if (low < 1 || high > kMaxSide)
    fail(ErrorCode::invalid_argument,
         "picture of {} x {} pixels: sides of 1 to {} are accepted",
         size.width,
         size.height,
         kMaxSide);
  const double aspect = static_cast<double>(high) / static_cast<double>(low);
  if (aspect > kMaxAspect)
    fail(ErrorCode::invalid_argument,
         "picture of {} x {} pixels: absolute aspect ratio must be smaller than {}, got {}",
         size.width,
         size.height,
         kMaxAspect,
         aspect);
}

// `frames` multiplies the real pixels, `counted_frames` those of the rounded size.
ImageSize fit(
    ImageSize size, int64_t factor, PixelRange range, int64_t frames, int64_t counted_frames) {
  check_aspect(size);
  ImageSize out{round_to(size.height, factor), round_to(size.width, factor)};
  const int64_t pixels = counted_frames * out.height * out.width;
  const auto real_pixels = static_cast<double>(frames * size.height * size.width);
  const auto f = static_cast<double>(factor);
  if (pixels > range.max_pixels) {
    const double beta = std::sqrt(real_pixels / static_cast<double>(range.max_pixels));
    const auto shrink = [&](int64_t side) {
      return std::max(
          factor, static_cast<int64_t>(std::floor(static_cast<double>(side) / beta / f)) * factor);
    };
    out = {shrink(size.height), shrink(size.width)};
  } else if (pixels < range.min_pixels) {
    const double beta = std::sqrt(static_cast<double>(range.min_pixels) / real_pixels);
    const auto grow = [&](int64_t side) {
      return static_cast<int64_t>(std::ceil(static_cast<double>(side) * beta / f)) * factor;
    };
    out = {grow(size.height), grow(size.width)};
  }
  return out;
}

}  // namespace

ImageSize smart_resize(ImageSize size, int64_t factor, PixelRange range) {
  return fit(size, factor, range, 1, 1);
}

ImageSize smart_resize_clip(
    int64_t frames, ImageSize size, int64_t factor, PixelRange range, int64_t temporal) {
  if (frames < temporal || frames > kMaxFrames)
    fail(ErrorCode::invalid_argument,
         "clip of {} frames; {} to {} are accepted",
         frames,
         temporal,
         kMaxFrames);
  if (std::min(size.height, size.width) < 1) check_aspect(size);
  if (size.height < factor || size.width < factor) {
    const double scale = std::max(static_cast<double>(factor) / static_cast<double>(size.height),
                                  static_cast<double>(factor) / static_cast<double>(size.width));
    size = {static_cast<int64_t>(static_cast<double>(size.height) * scale),
            static_cast<int64_t>(static_cast<double>(size.width) * scale)};
  }
  return fit(size, factor, range, frames, round_to(frames, temporal));
}

}  // namespace quern
