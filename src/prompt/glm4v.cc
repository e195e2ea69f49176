// SPDX-License-Identifier: Apache-2.0
// GLM-4.1V, AutoGLM-Phone, GLM-4.5V and GLM-4.6V: pictures of any shape as 2 x 2 cells of 14 x 14
// patches; a clip as one picture for each pair of frames, with the second it was taken at behind
// it. GLM-4.6V has other stamps and chooses other frames: its files name Glm46VProcessor. Sources:
// arXiv 2507.01006; transformers 5.23, processing_glm4v.py, processing_glm46v.py,
// image_processing_glm4v.py, video_processing_glm4v.py, get_rope_index of modeling_glm4v.py.
//
//   <|begin_of_video|><|video|><|end_of_video|>, four frames at two a second, two tokens each,
//   becomes
//   <|begin_of_video|>
//     <|begin_of_image|><|image|><|image|><|end_of_image|>0
//     <|begin_of_image|><|image|><|image|><|end_of_image|>1        (GLM-4.6V: "1.0 seconds")
//   <|end_of_video|>
#include <algorithm>

#include "base/error.h"
#include "media/video/clip_frames.h"
#include "prompt/mrope.h"
#include "prompt/picture_input.h"
#include "prompt/processor.h"

namespace quern {
namespace {

// Of all frames together; a picture counts as two.
constexpr PixelRange kImageDefaults{112 * 112, 28 * 28 * 15000},
    kVideoDefaults{112 * 112, 28 * 28 * 2 * 30000};
constexpr int64_t kMostFrames = 640;  // of a clip, GLM-4.6V
constexpr const char *kBeginImage = "<|begin_of_image|>", *kEndImage = "<|end_of_image|>";

struct TokenRule {
  const char *key, *text;
  int32_t published, published_moe;  // by the dense models and by those with experts
};
constexpr TokenRule kImage{"image_token_id", "<|image|>", 151343, 151363},
    kVideo{"video_token_id", "<|video|>", 151344, 151364};
constexpr TokenRule kTokens[] = {kImage,
                                 kVideo,
                                 {"image_start_token_id", kBeginImage, 151339, 151339},
                                 {"image_end_token_id", kEndImage, 151340, 151340},
                                 {"video_start_token_id", "<|begin_of_video|>", 151341, 151341},
                                 {"video_end_token_id", "<|end_of_video|>", 151342, 151342}};

int32_t id_in(const Config& config, const TokenRule& rule) {
  const bool is_moe = config.string_or("model_type", "") == "glm4v_moe";
  const int32_t published = is_moe ? rule.published_moe : rule.published;
  return static_cast<int32_t>(config.integer_or(rule.key, published, 0, INT32_MAX));
}

class Glm4v : public Processor {
 public:
  Glm4v(const std::string& folder, const Config& config, const ProcessorOptions& options)
      : config_(config),
        options_(options),
        formats_(read_picture_formats(
            folder, config, {.pixels = kImageDefaults}, {.pixels = kVideoDefaults})) {
    image_token_ = id_in(config, kImage);
    video_token_ = id_in(config, kVideo);
    for (const PictureFormat* format : {&formats_.image, &formats_.video})
      is_46v_ = is_46v_ || format->file.processor_class == "Glm46VProcessor";
    if (const auto file = find_video_config(folder)) {
      fps_ = file->number_or("fps", fps_);
      max_duration_ = file->number_or("max_duration", max_duration_);
      if (!(fps_ > 0 && fps_ < 1e3) || !(max_duration_ >= 1 && max_duration_ < 1e6))
        fail(ErrorCode::data_loss,
             "{}: fps {}, max_duration {}: expected positive numbers",
             file->path(),
             fps_,
             max_duration_);
    }
    frame_rule({});  // what the server states, before anything is loaded
  }

  std::optional<int32_t> placeholder(MediaKind kind) const override {
    if (kind == MediaKind::audio) return std::nullopt;
    return kind == MediaKind::video ? video_token_ : image_token_;
  }
  int32_t row_token(MediaKind) const override { return image_token_; }
  void check(const Tokenizer& tokenizer) const override;
  FrameRule frame_rule(const ProcessorOptions& asked) const override;
  int64_t count_tokens(const OpenedMedia& media, const PromptRules& rules) const override {
    return plan(media, rules).tokens;
  }
  ResizedMedia resize(const OpenedMedia& media, const PromptRules& rules) const override;
  std::vector<MediaPiece> pack(const ResizedMedia& media) const override;
  MediaInput largest_medium(int64_t max_tokens) const override;
  // Frames of a clip stand apart: each is placed as a picture.
  void place(Prompt& prompt, const PromptRules&) const override {
    place_mrope(prompt, {.merge = formats_.image.file.shape.merge});
  }

 private:
  const PictureFormat& format(MediaKind kind) const {
    return kind == MediaKind::video ? formats_.video : formats_.image;
  }
  PicturePlan plan(const OpenedMedia& media, const PromptRules& rules) const;
  std::string stamp(double seconds) const {
    return is_46v_ ? quern::format("{:.1f} seconds", seconds)
                   : std::to_string(static_cast<int64_t>(seconds));
  }

  Config config_;
  ProcessorOptions options_;
  int32_t image_token_ = 0, video_token_ = 0;
  bool is_46v_ = false;
  PictureFormats formats_;
  double fps_ = 2, max_duration_ = 300;  // of a clip: frames a second, seconds at that rate
};

void Glm4v::check(const Tokenizer& tokenizer) const {
  for (const TokenRule& rule : kTokens) {
    const auto id = tokenizer.token_to_id(rule.text);
    if (!id)
      fail(ErrorCode::data_loss,
           "the tokenizer has no token {}: this model's prompts are made of it",
           rule.text);
    if (*id != id_in(config_, rule))
      fail(ErrorCode::data_loss,
           "{}: {} is {}, the tokenizer's {} is {}: the two files do not belong together",
           config_.path(),
           rule.key,
           id_in(config_, rule),
           rule.text,
           *id);
  }
}

// `max_frames` is a duration here: that of so many frames.
FrameRule Glm4v::frame_rule(const ProcessorOptions& asked) const {
  FrameRule rule{.fps = fps_,
                 .max_frames = is_46v_ ? kMostFrames : FrameRule().max_frames,
                 .choice = is_46v_ ? FrameChoice::by_tick : FrameChoice::by_second,
                 .max_duration = max_duration_};
  for (const ProcessorOptions& options : {options_, asked}) {
    if (options.min_frames > 0)
      fail(ErrorCode::unsupported,
           "min_frames: this model takes frames by the second; state fps or num_frames");
    if (options.fps > 0)
      rule.fps = options.fps, rule.num_frames = 0, rule.choice = FrameChoice::by_second;
    if (options.num_frames > 0) rule.num_frames = options.num_frames;
    if (options.max_frames > 0)
      rule.max_frames = std::min(rule.max_frames, options.max_frames),
      rule.max_duration =
          std::min(rule.max_duration, static_cast<double>(options.max_frames) / rule.fps);
  }
  return rule;
}

PicturePlan Glm4v::plan(const OpenedMedia& media, const PromptRules& rules) const {
  check_frames(media);
  const PictureFormat& f = format(media.kind);
  const auto count = static_cast<int64_t>(media.frames.size());
  const int64_t temporal = f.file.shape.temporal;
  const bool is_clip = media.kind == MediaKind::video;
  PicturePlan plan;
  plan.frames = is_clip && rules.sample_frames && !media.is_sampled
                    ? choose_frames(count, media.fps, frame_rule(media.options))
                    : all_frames(count, media.fps);
  const auto frames = static_cast<int64_t>(plan.frames.indices.size());
  plan.size = {media.frames[0].height, media.frames[0].width};
  const int64_t counted = is_clip ? frames : temporal;
  const PixelRange range =
      narrowed_range(replaced_range(f.file.pixels, options_, counted), media.options, counted);
  if (f.file.do_resize)
    plan.size = smart_resize_clip(counted, plan.size, f.cell(), range, temporal);
  check_unresized(plan.size, f.cell());
  plan.tokens = count_cells(count_times(frames, f), plan.size, f);
  return plan;
}

ResizedMedia Glm4v::resize(const OpenedMedia& media, const PromptRules& rules) const {
  const PicturePlan p = plan(media, rules);
  ResizedMedia out = resized_frames(media, p, rules.resize);
  for (const int64_t index : p.frames.indices)
    out.seconds.push_back(static_cast<double>(index) / media.fps);
  return out;
}

std::vector<MediaPiece> Glm4v::pack(const ResizedMedia& media) const {
  const PictureFormat& f = format(media.kind);
  const std::span<const Image> frames = media.frames;
  if (media.kind == MediaKind::image)
    return {
        {.input = std::make_shared<const MediaInput>(make_picture_input(media.kind, frames, f))}};
  std::vector<MediaPiece> pieces;
  const auto temporal = static_cast<size_t>(f.file.shape.temporal);
  const auto times = static_cast<size_t>(count_times(static_cast<int64_t>(frames.size()), f));
  for (size_t t = 0; t < times; ++t) {
    const size_t first = t * temporal, count = std::min(temporal, frames.size() - first);
    auto input = std::make_shared<MediaInput>(
        make_picture_input(media.kind, frames.subspan(first, count), f));
    input->part = static_cast<int32_t>(t);
    input->parts = static_cast<int32_t>(times);
    // The times of every second frame, as the reference takes them; the last one where they end.
    const size_t stamped = std::min(2 * t, (frames.size() - 1) / 2 * 2);
    pieces.push_back({std::move(input), kBeginImage, kEndImage + stamp(media.seconds[stamped])});
  }
  return pieces;
}

MediaInput Glm4v::largest_medium(int64_t max_tokens) const {
  const PictureFormat& f = formats_.image;
  const PixelRange range = replaced_range(f.file.pixels, options_, f.file.shape.temporal);
  const int64_t most = range.max_pixels / f.file.shape.temporal / (f.cell() * f.cell());
  return largest_picture_of(f.file, std::max<int64_t>(1, std::min(most, max_tokens)));
}

}  // namespace

std::unique_ptr<Processor> open_glm4v(const std::string& folder,
                                      const Config& config,
                                      const ProcessorOptions& options) {
  return std::make_unique<Glm4v>(folder, config, options);
}

}  // namespace quern
