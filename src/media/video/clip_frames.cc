// SPDX-License-Identifier: Apache-2.0
// Source: qwen_vl_utils/vision_process.py of QwenLM/Qwen2-VL (smart_nframes, fetch_video).
#include "media/video/clip_frames.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quern {
namespace {

constexpr int64_t kFrameFactor = 2;
constexpr int64_t kTokenPixels = 28 * 28;

int64_t count_frames(int64_t total, double fps, const FrameRule& rule) {
  const double wanted = rule.num_frames > 0 ? static_cast<double>(rule.num_frames)
                                            : static_cast<double>(total) / fps * rule.fps;
  const auto most = static_cast<double>(std::min(rule.max_frames, total));
  const double least = rule.num_frames > 0 ? 1 : static_cast<double>(rule.min_frames);
  const double clamped = std::min(std::max(wanted, least), most);
  // Half to even; a single frame stays.
  const auto even = static_cast<int64_t>(std::nearbyint(clamped / kFrameFactor)) * kFrameFactor;
  return std::clamp<int64_t>(even, 1, total);
}

bool takes_all(int64_t total, double fps, const FrameRule& rule) {
  if (total > rule.max_frames) return false;
  return rule.num_frames > 0 ? total <= rule.num_frames : fps <= rule.fps;
}

}  // namespace

ClipFrames all_frames(int64_t total, double fps) {
  ClipFrames all{std::vector<int64_t>(static_cast<size_t>(total)), fps};
  std::iota(all.indices.begin(), all.indices.end(), 0);
  return all;
}

ClipFrames choose_frames(int64_t total, double fps, const FrameRule& rule) {
  return takes_all(total, fps, rule) ? all_frames(total, fps) : sample_frames(total, fps, rule);
}

ClipFrames sample_frames(int64_t total, double fps, const FrameRule& rule) {
  ClipFrames chosen;
  const int64_t count = count_frames(total, fps, rule);
  for (int64_t i = 0; i < count; ++i) {
    const double at = count == 1 ? 0
                                 : static_cast<double>(total - 1) * static_cast<double>(i) /
                                       static_cast<double>(count - 1);
    chosen.indices.push_back(static_cast<int64_t>(std::nearbyint(at)));
  }
  chosen.fps = static_cast<double>(count) / static_cast<double>(total) * fps;
  return chosen;
}

PixelRange clip_pixel_range(int64_t frames) {
  constexpr int64_t kMinPixels = 128 * kTokenPixels, kFrameMaxPixels = 768 * kTokenPixels,
                    kTotalPixels = 24576 * kTokenPixels;
  const double share =
      static_cast<double>(kTotalPixels) / static_cast<double>(frames) * kFrameFactor;
  const double most = std::max(std::min<double>(kFrameMaxPixels, share),
                               static_cast<double>(static_cast<int64_t>(kMinPixels * 1.05)));
  return {kMinPixels, static_cast<int64_t>(most)};
}

}  // namespace quern
