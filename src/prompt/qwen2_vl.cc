// SPDX-License-Identifier: Apache-2.0
// Qwen2-VL and Qwen2.5-VL: pictures of any shape as 2 x 2 cells of 14 x 14 patches, clips as pairs
// of frames, positions on three axes. Sources: arXiv 2409.12191; transformers 5.23,
// image_processing_qwen2_vl.py, video_processing_qwen2_vl.py, modeling_qwen2_5_vl.py;
// qwen_vl_utils/vision_process.py for the frames of clips.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "media/image/resize.h"
#include "media/video/clip_frames.h"
#include "prompt/mrope.h"
#include "prompt/patches.h"
#include "prompt/processor.h"
#include "prompt/vision_files.h"

namespace quern {
namespace {

constexpr PixelRange kImageDefaults{56 * 56, 28 * 28 * 1280},
    kVideoDefaults{128 * 28 * 28, 768 * 28 * 28};
// Qwen2.5-VL's class says 4 where the file says nothing; every published file says 2.
constexpr double kDefaultTokensPerSecond = 4;

// One kind of medium as the files describe it.
struct Vision {
  VisionFile file;
  ChannelTables tables;
};

Vision make_vision(const VisionFile& file) {
  return {file, make_channel_tables(file.scaling)};
}

Hash128 hash_of(const MediaInput& input) {
  const int64_t head[] = {
      static_cast<int64_t>(input.kind), input.grid_t, input.grid_h, input.grid_w, input.row_size};
  const Hash128 start = hash_chain(hash_bytes(std::as_bytes(std::span(head))),
                                   std::as_bytes(std::span(&input.seconds_per_grid, 1)));
  return hash_chain(start, std::as_bytes(std::span(input.values)));
}

// What becomes of a medium: which frames, at which size.
struct Plan {
  ClipFrames frames;
  ImageSize size;
  int64_t times = 1;  // temporal patches
};

class Qwen2Vl : public Processor {
 public:
  Qwen2Vl(const std::string& folder, const Config& config, const ProcessorOptions& options);

  std::optional<int32_t> placeholder(MediaKind kind) const override;
  FrameRule frame_rule(const ProcessorOptions& asked) const override;
  int64_t count_tokens(const OpenedMedia& media, const PromptRules& rules) const override;
  ResizedMedia resize(const OpenedMedia& media, const PromptRules& rules) const override;
  MediaInput pack(const ResizedMedia& media) const override;
  MediaInput largest_picture(int64_t max_tokens) const override;
  void place(Prompt& prompt, const PromptRules& rules) const override;

 private:
  const Vision& vision(MediaKind kind) const { return kind == MediaKind::video ? video_ : image_; }
  PixelRange pixels(const OpenedMedia& media, int64_t frames, const PromptRules& rules) const;
  Plan plan(const OpenedMedia& media, const PromptRules& rules) const;

  int32_t image_token_ = 0, video_token_ = 0;
  Vision image_, video_;
  bool has_video_file_ = false;
  FrameRule frames_;
  MropeRule mrope_;
};

void check_shape(const VisionFile& file, const Config& config) {
  const Config vision = config.sub_or_self("vision_config");
  const int64_t size = vision.integer_or("patch_size", file.shape.size);
  const int64_t temporal = vision.integer_or("temporal_patch_size", file.shape.temporal);
  const int64_t merge = vision.integer_or("spatial_merge_size", file.shape.merge);
  if (size != file.shape.size || temporal != file.shape.temporal || merge != file.shape.merge)
    fail(ErrorCode::data_loss,
         "{}: vision_config says patches of {} pixels, {} frames, {} to a cell's side; the "
         "processor's file says {}, {}, {}",
         config.path(),
         size,
         temporal,
         merge,
         file.shape.size,
         file.shape.temporal,
         file.shape.merge);
}

void check_frames(const OpenedMedia& media) {
  if (media.frames.empty()) fail(ErrorCode::invalid_argument, "a medium without pictures");
  if (!(media.fps > 0)) fail(ErrorCode::invalid_argument, "clip: {} frames per second", media.fps);
  const Image& first = media.frames[0];
  for (const Image& frame : media.frames)
    if (frame.width != first.width || frame.height != first.height)
      fail(ErrorCode::invalid_argument,
           "clip: its frames must have one size, got {} x {} and {} x {}",
           first.width,
           first.height,
           frame.width,
           frame.height);
}

// What is stated replaces what the file says.
void apply(const ProcessorOptions& options, PixelRange& range) {
  if (options.min_pixels > 0) range.min_pixels = options.min_pixels;
  if (options.max_pixels > 0) range.max_pixels = options.max_pixels;
  if (range.min_pixels > range.max_pixels)
    fail(ErrorCode::invalid_argument,
         "processor options: pixels from {} to {}: state both limits",
         range.min_pixels,
         range.max_pixels);
}

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
  const Config nothing = Config::parse("{}", "preprocessor_config.json");
  const auto image_file = find_image_config(folder), video_file = find_video_config(folder);
  has_video_file_ = video_file.has_value();
  image_ = make_vision(read_vision_file(image_file.value_or(nothing), kImageDefaults));
  // Older folders have one file for both.
  video_ = make_vision(
      read_vision_file(video_file ? *video_file : image_file.value_or(nothing), kVideoDefaults));
  check_shape(image_.file, config);
  check_shape(video_.file, config);
  apply(options, image_.file.pixels);
  apply(options, video_.file.pixels);
  frames_ = narrowed(frames_, options);
  mrope_.merge = image_.file.shape.merge;
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
  PixelRange range = vision(media.kind).file.pixels;
  if (media.kind == MediaKind::video && rules.sample_frames && !has_video_file_) {
    const PixelRange clip = clip_pixel_range(frames);
    range.max_pixels = std::min(range.max_pixels, clip.max_pixels);
    range.min_pixels = std::min(clip.min_pixels, range.max_pixels);
  }
  const ProcessorOptions& asked = media.options;
  if (asked.max_pixels > 0) range.max_pixels = std::min(range.max_pixels, asked.max_pixels);
  range.min_pixels = std::max(range.min_pixels, std::min(asked.min_pixels, range.max_pixels));
  return range;
}

Plan Qwen2Vl::plan(const OpenedMedia& media, const PromptRules& rules) const {
  check_frames(media);
  const VisionFile& file = vision(media.kind).file;
  const auto count = static_cast<int64_t>(media.frames.size());
  Plan plan;
  plan.frames = media.kind == MediaKind::video && rules.sample_frames && !media.is_sampled
                    ? choose_frames(count, media.fps, frame_rule(media.options))
                    : all_frames(count, media.fps);
  const auto frames = static_cast<int64_t>(plan.frames.indices.size());
  plan.times = (frames + file.shape.temporal - 1) / file.shape.temporal;
  const int64_t cell = file.shape.size * file.shape.merge;
  plan.size = {media.frames[0].height, media.frames[0].width};
  if (file.do_resize) plan.size = smart_resize(plan.size, cell, pixels(media, frames, rules));
  if (plan.size.height % cell != 0 || plan.size.width % cell != 0)
    fail(
        ErrorCode::invalid_argument,
        "picture of {} x {} pixels: this model does not resize; both sides must be multiples of {}",
        plan.size.width,
        plan.size.height,
        cell);
  return plan;
}

int64_t Qwen2Vl::count_tokens(const OpenedMedia& media, const PromptRules& rules) const {
  const Plan p = plan(media, rules);
  const PatchShape& shape = vision(media.kind).file.shape;
  const int64_t cell = shape.size * shape.merge;
  return p.times * (p.size.height / cell) * (p.size.width / cell);
}

ResizedMedia Qwen2Vl::resize(const OpenedMedia& media, const PromptRules& rules) const {
  const Plan p = plan(media, rules);
  ResizedMedia out{.kind = media.kind, .frames = {}, .fps = p.frames.fps};
  out.frames.reserve(p.frames.indices.size());
  for (int64_t index : p.frames.indices)
    out.frames.push_back(resize_bicubic(
        media.frames[static_cast<size_t>(index)], p.size.width, p.size.height, rules.resize));
  out.tokens = count_tokens(media, rules);
  return out;
}

MediaInput Qwen2Vl::pack(const ResizedMedia& media) const {
  const Vision& v = vision(media.kind);
  const PatchShape& shape = v.file.shape;
  MediaInput input;
  input.kind = media.kind;
  input.grid_t = (static_cast<int64_t>(media.frames.size()) + shape.temporal - 1) / shape.temporal;
  input.grid_h = media.frames[0].height / shape.size;
  input.grid_w = media.frames[0].width / shape.size;
  if (media.kind == MediaKind::video)
    input.seconds_per_grid = static_cast<double>(shape.temporal) / media.fps;
  input.rows = input.grid_t * input.grid_h * input.grid_w;
  input.row_size = shape.row_size();
  input.tokens = input.rows / (shape.merge * shape.merge);
  input.values = cut_patches(media.frames, shape, v.tables);
  input.hash = hash_of(input);
  return input;
}

MediaInput Qwen2Vl::largest_picture(int64_t max_tokens) const {
  const PatchShape& shape = image_.file.shape;
  const int64_t side = shape.size * shape.merge;
  const int64_t cells =
      std::max<int64_t>(1, std::min(image_.file.pixels.max_pixels / (side * side), max_tokens));
  const auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(cells)));
  MediaInput out;
  out.grid_h = rows * shape.merge;
  out.grid_w = cells / rows * shape.merge;
  out.rows = out.grid_h * out.grid_w;
  out.row_size = 3 * shape.temporal * shape.size * shape.size;
  out.tokens = rows * (cells / rows);
  return out;
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
