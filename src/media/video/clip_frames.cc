// SPDX-License-Identifier: Apache-2.0
// Source: qwen_vl_utils/vision_process.py of QwenLM/Qwen2-VL (smart_nframes, fetch_video);
// transformers 5.23, video_processing_glm4v.py, video_processing_glm46v.py.
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

// `count` indices from first to last, evenly, cut to integers.
std::vector<int64_t> spread(int64_t first, int64_t last, int64_t count) {
  std::vector<int64_t> out;
  const double step =
      static_cast<double>(last - first) / static_cast<double>(std::max<int64_t>(count - 1, 1));
  for (int64_t i = 0; i < count; ++i)
    out.push_back(i + 1 == count && i > 0 ? last
                                          : static_cast<int64_t>(static_cast<double>(first) +
                                                                 static_cast<double>(i) * step));
  return out;
}

void repeat_odd_end(std::vector<int64_t>& indices) {
  if (indices.size() % 2 != 0) indices.push_back(indices.back());
}

bool is_even_choice(const FrameRule& rule) {
  return rule.num_frames > 0 || rule.choice == FrameChoice::evenly;
}

ClipFrames choose_glm(int64_t total, double fps, const FrameRule& rule) {
  return rule.choice == FrameChoice::by_tick
             ? choose_glm46v_frames(total, fps, rule.max_frames)
             : choose_glm4v_frames(total, fps, rule.fps, rule.max_duration);
}

// Frames a second that are left of `fps` where these, ascending, are taken.
double mean_rate(std::vector<int64_t> indices, double fps) {
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());  // a repeated last one
  const auto steps = static_cast<double>(indices.size() - 1);
  return steps > 0 ? steps / static_cast<double>(indices.back() - indices.front()) * fps : fps;
}

}  // namespace

ClipFrames all_frames(int64_t total, double fps) {
  ClipFrames all{std::vector<int64_t>(static_cast<size_t>(total)), fps};
  std::iota(all.indices.begin(), all.indices.end(), 0);
  return all;
}

ClipFrames choose_frames(int64_t total, double fps, const FrameRule& rule) {
  if (!is_even_choice(rule)) return choose_glm(total, fps, rule);
  return takes_all(total, fps, rule) ? all_frames(total, fps) : sample_frames(total, fps, rule);
}

ClipFrames sample_frames(int64_t total, double fps, const FrameRule& rule) {
  if (!is_even_choice(rule)) {
    ClipFrames taken = choose_glm(total, fps, rule);
    taken.fps = mean_rate(taken.indices, fps);
    return taken;
  }
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

ClipFrames choose_glm4v_frames(int64_t total, double fps, double target, double max_duration) {
  const double duration = static_cast<double>(total) / fps;
  ClipFrames out{{}, fps};
  const auto add = [&](double at) {
    const auto index = std::min(total - 1, static_cast<int64_t>(std::ceil(at)));
    if (out.indices.empty() || out.indices.back() != index) out.indices.push_back(index);
  };
  if (duration <= max_duration) {
    const auto count = std::max<int64_t>(1, static_cast<int64_t>(std::floor(duration * target)));
    for (int64_t i = 0; i < count; ++i) add(static_cast<double>(i) * fps / target);
  } else if (const auto count = static_cast<int64_t>(max_duration * target); count >= total) {
    return all_frames(total, fps);
  } else {
    const double step = duration / static_cast<double>(std::max<int64_t>(count - 1, 1));
    for (int64_t i = 0; i < count; ++i)
      add((i + 1 == count && i > 0 ? duration : static_cast<double>(i) * step) * fps);
  }
  repeat_odd_end(out.indices);
  return out;
}

ClipFrames choose_glm46v_frames(int64_t total, double fps, int64_t most) {
  constexpr double kMaxDuration = 2400;
  const double duration = static_cast<double>(total) / fps,
               counted = std::min(duration, kMaxDuration);
  const double rate = counted <= 30 ? 6 : counted <= 300 ? 2 : 1;
  const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(counted * rate), 1, most);
  ClipFrames out = all_frames(total, fps);
  if (total >= wanted) {
    std::vector<int64_t> taken;
    double tick = 0;
    for (int64_t i = 0; i < total && (taken.empty() || tick < std::floor(duration)); ++i)
      if (static_cast<double>(i) * (1 / fps) >= tick) taken.push_back(i), tick += 1 / rate;
    const auto count = static_cast<int64_t>(taken.size());
    if (count < wanted) taken = spread(taken.front(), taken.back(), wanted);
    if (count > wanted) taken = spread(0, total - 1, wanted);
    taken.erase(std::unique(taken.begin(), taken.end()), taken.end());
    out.indices = std::move(taken);
  }
  repeat_odd_end(out.indices);
  return out;
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
