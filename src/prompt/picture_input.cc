// SPDX-License-Identifier: Apache-2.0
#include "prompt/picture_input.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "media/image/resize.h"

namespace quern {
namespace {

PictureFormat make_format(const VisionFile& file) {
  return {file, make_channel_tables(file.scaling)};
}

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

// Pixels that count `times` times; products stay below 2^63.
int64_t counted(int64_t pixels, int64_t times) {
  constexpr int64_t kMost = int64_t{1} << 40;
  return std::min(pixels, kMost) * times;
}

}  // namespace

PictureFormats read_picture_formats(const std::string& folder,
                                    const Config& config,
                                    const VisionFile& image_defaults,
                                    const VisionFile& video_defaults) {
  const Config nothing = Config::parse("{}", "preprocessor_config.json");
  const auto image_file = find_image_config(folder), video_file = find_video_config(folder);
  PictureFormats out;
  out.has_video_file = video_file.has_value();
  out.image = make_format(read_vision_file(image_file.value_or(nothing), image_defaults));
  out.video = make_format(
      read_vision_file(video_file ? *video_file : image_file.value_or(nothing), video_defaults));
  check_shape(out.image.file, config);
  check_shape(out.video.file, config);
  return out;
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

void check_unresized(ImageSize size, int64_t cell) {
  if (size.height % cell != 0 || size.width % cell != 0)
    fail(
        ErrorCode::invalid_argument,
        "picture of {} x {} pixels: this model does not resize; both sides must be multiples of {}",
        size.width,
        size.height,
        cell);
}

PixelRange replaced_range(PixelRange range, const ProcessorOptions& stated, int64_t times) {
  if (stated.min_pixels > 0) range.min_pixels = counted(stated.min_pixels, times);
  if (stated.max_pixels > 0) range.max_pixels = counted(stated.max_pixels, times);
  if (range.min_pixels > range.max_pixels)
    fail(ErrorCode::invalid_argument,
         "processor options: pixels from {} to {}: state both limits",
         range.min_pixels,
         range.max_pixels);
  return range;
}

PixelRange narrowed_range(PixelRange range, const ProcessorOptions& asked, int64_t times) {
  if (asked.max_pixels > 0)
    range.max_pixels = std::min(range.max_pixels, counted(asked.max_pixels, times));
  range.min_pixels =
      std::max(range.min_pixels, std::min(counted(asked.min_pixels, times), range.max_pixels));
  return range;
}

int64_t count_times(int64_t frames, const PictureFormat& format) {
  const int64_t temporal = format.file.shape.temporal;
  return (frames + temporal - 1) / temporal;
}

int64_t count_cells(int64_t times, ImageSize size, const PictureFormat& format) {
  return times * (size.height / format.cell()) * (size.width / format.cell());
}

ResizedMedia resized_frames(const OpenedMedia& media, const PicturePlan& plan, ResizeRule rule) {
  ResizedMedia out{.kind = media.kind, .frames = {}, .fps = plan.frames.fps, .tokens = plan.tokens};
  out.frames.reserve(plan.frames.indices.size());
  for (const int64_t index : plan.frames.indices)
    out.frames.push_back(resize_bicubic(
        media.frames[static_cast<size_t>(index)], plan.size.width, plan.size.height, rule));
  return out;
}

MediaInput make_picture_input(MediaKind kind,
                              std::span<const Image> frames,
                              const PictureFormat& format,
                              double seconds_per_grid) {
  const PatchShape& shape = format.file.shape;
  MediaInput input;
  input.kind = kind;
  input.grid_t = count_times(static_cast<int64_t>(frames.size()), format);
  input.grid_h = frames[0].height / shape.size;
  input.grid_w = frames[0].width / shape.size;
  input.seconds_per_grid = seconds_per_grid;
  input.rows = input.grid_t * input.grid_h * input.grid_w;
  input.row_size = shape.row_size();
  input.tokens = input.rows / (shape.merge * shape.merge);
  input.values = cut_patches(frames, shape, format.tables);
  input.hash = hash_of(input);
  return input;
}

Hash128 hash_of(const MediaInput& input) {
  const int64_t head[] = {
      static_cast<int64_t>(input.kind), input.grid_t, input.grid_h, input.grid_w, input.row_size};
  const Hash128 start = hash_chain(hash_bytes(std::as_bytes(std::span(head))),
                                   std::as_bytes(std::span(&input.seconds_per_grid, 1)));
  return hash_chain(start, std::as_bytes(std::span(input.values)));
}

MediaInput largest_picture_of(const VisionFile& file, int64_t cells) {
  const auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(cells)));
  MediaInput out;
  out.grid_h = rows * file.shape.merge;
  out.grid_w = cells / rows * file.shape.merge;
  out.rows = out.grid_h * out.grid_w;
  out.row_size = file.shape.row_size();
  out.tokens = rows * (cells / rows);
  return out;
}

}  // namespace quern
