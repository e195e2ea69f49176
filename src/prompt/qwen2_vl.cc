// SPDX-License-Identifier: Apache-2.0
// Qwen2-VL and Qwen2.5-VL: pictures of any shape as 2 x 2 cells of 14 x 14 patches, clips as pairs
// of frames, positions on three axes. Sources: arXiv 2409.12191; transformers 5.23,
// image_processing_qwen2_vl.py, video_processing_qwen2_vl.py, modeling_qwen2_5_vl.py;
// qwen_vl_utils/vision_process.py for the frames of clips.
#include <algorithm>

#include "media/video/clip_frames.h"
#include "prompt/mrope.h"
#include "prompt/picture_input.h"
#include "prompt/processor.h"

namespace quern {
namespace {

constexpr PixelRange kImageDefaults{56 * 56, 28 * 28 * 1280},
    kVideoDefaults{128 * 28 * 28, 768 * 28 * 28};
// Qwen2.5-VL's class says 4 where the file says nothing; every published file says 2.
constexpr double kDefaultTokensPerSecond = 4;

class Qwen2Vl : public Processor {
 public:
  Qwen2Vl(const std::string& folder, const Config& config, const ProcessorOptions& options);

  std::optional<int32_t> placeholder(MediaKind kind) const override;
  FrameRule frame_rule(const ProcessorOptions& asked) const override;
  int64_t count_tokens(const OpenedMedia& media, const PromptRules& rules) const override {
    return plan(media, rules).tokens;
  }
  ResizedMedia resize(const OpenedMedia& media, const PromptRules& rules) const override;
  std::vector<MediaPiece> pack(const ResizedMedia& media) const override;
  MediaInput largest_medium(int64_t max_tokens) const override;
  void place(Prompt& prompt, const PromptRules& rules) const override;

 private:
  const PictureFormat& format(MediaKind kind) const {
    return kind == MediaKind::video ? formats_.video : formats_.image;
  }
  PixelRange pixels(const OpenedMedia& media, int64_t frames, const PromptRules& rules) const;
  PicturePlan plan(const OpenedMedia& media, const PromptRules& rules) const;

  int32_t image_token_ = 0, video_token_ = 0;
  PictureFormats formats_;
  FrameRule frames_;
  MropeRule mrope_;
};

// Of two rules the one that takes fewer frames, but for `fps`, which the options may state freely.
FrameRule narrowed(FrameRule rule, const ProcessorOptions& options) {
  if (options.max_frames > 0) rule.max_frames = std::min(rule.max_frames, options.max_frames);
  if (options.min_frames > 0) rule.min_frames = options.min_frames;
  if (options.fps > 0) rule.fps = options.fps, rule.num_frames = 0;
  if (options.num_frames > 0) rule.num_frames = options.num_frames;
  return rule;
}

Qwen2Vl::Qwen2Vl(const std::string& folder, const Config& config, const ProcessorOptions& options) {
  image_token_ = static_cast<int32_t>(config.integer_or("image_token_id", 151655, 0, INT32_MAX));
  video_token_ = static_cast<int32_t>(config.integer_or("video_token_id", 151656, 0, INT32_MAX));
  formats_ =
      read_picture_formats(folder, config, {.pixels = kImageDefaults}, {.pixels = kVideoDefaults});
  for (PictureFormat* format : {&formats_.image, &formats_.video})
    format->file.pixels = replaced_range(format->file.pixels, options);
  frames_ = narrowed(frames_, options);
  mrope_.merge = formats_.image.file.shape.merge;
  if (config.string_or("model_type", "") == "qwen2_5_vl")
    mrope_.tokens_per_second =
        config.sub_or_self("vision_config").number_or("tokens_per_second", kDefaultTokensPerSecond);
}

std::optional<int32_t> Qwen2Vl::placeholder(MediaKind kind) const {
  switch (kind) {
    case MediaKind::image:
      return image_token_;
    case MediaKind::video:
      return video_token_;
    case MediaKind::audio:
      return std::nullopt;
  }
  return std::nullopt;
}

FrameRule Qwen2Vl::frame_rule(const ProcessorOptions& asked) const {
  return narrowed(frames_, asked);
}

PixelRange Qwen2Vl::pixels(const OpenedMedia& media,
                           int64_t frames,
                           const PromptRules& rules) const {
  PixelRange range = format(media.kind).file.pixels;
  if (media.kind == MediaKind::video && rules.sample_frames && !formats_.has_video_file) {
    const PixelRange clip = clip_pixel_range(frames);
    range.max_pixels = std::min(range.max_pixels, clip.max_pixels);
    range.min_pixels = std::min(clip.min_pixels, range.max_pixels);
  }
  return narrowed_range(range, media.options);
}

PicturePlan Qwen2Vl::plan(const OpenedMedia& media, const PromptRules& rules) const {
  check_frames(media);
  const PictureFormat& f = format(media.kind);
  const auto count = static_cast<int64_t>(media.frames.size());
  PicturePlan plan;
  plan.frames = media.kind == MediaKind::video && rules.sample_frames && !media.is_sampled
                    ? choose_frames(count, media.fps, frame_rule(media.options))
                    : all_frames(count, media.fps);
  const auto frames = static_cast<int64_t>(plan.frames.indices.size());
  plan.size = {media.frames[0].height, media.frames[0].width};
  if (f.file.do_resize) plan.size = smart_resize(plan.size, f.cell(), pixels(media, frames, rules));
  check_unresized(plan.size, f.cell());
  plan.tokens = count_cells(count_times(frames, f), plan.size, f);
  return plan;
}

ResizedMedia Qwen2Vl::resize(const OpenedMedia& media, const PromptRules& rules) const {
  return resized_frames(media, plan(media, rules), rules.resize);
}

std::vector<MediaPiece> Qwen2Vl::pack(const ResizedMedia& media) const {
  const PictureFormat& f = format(media.kind);
  const double seconds_per_grid =
      media.kind == MediaKind::video ? static_cast<double>(f.file.shape.temporal) / media.fps : 0;
  return {{.input = std::make_shared<const MediaInput>(
               make_picture_input(media.kind, media.frames, f, seconds_per_grid))}};
}

MediaInput Qwen2Vl::largest_medium(int64_t max_tokens) const {
  const PictureFormat& f = formats_.image;
  const int64_t most = f.file.pixels.max_pixels / (f.cell() * f.cell());
  return largest_picture_of(f.file, std::max<int64_t>(1, std::min(most, max_tokens)));
}

void Qwen2Vl::place(Prompt& prompt, const PromptRules& rules) const {
  MropeRule rule = mrope_;
  rule.is_time_ignored_after = rules.transformers_video_positions;
  place_mrope(prompt, rule);
}

}  // namespace

std::unique_ptr<Processor> open_qwen2_vl(const std::string& folder,
                                         const Config& config,
                                         const ProcessorOptions& options) {
  return std::make_unique<Qwen2Vl>(folder, config, options);
}

}  // namespace quern
