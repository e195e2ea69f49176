// SPDX-License-Identifier: Apache-2.0
// HunyuanOCR: pictures of any shape as cells of 2 x 2 patches of 16 x 16 pixels, a newline behind
// each row of cells, a mark in front of all and one behind. Sources: arXiv 2511.19575; transformers
// 5.23, processing_hunyuan_vl.py, image_processing_hunyuan_vl.py, get_rope_index of
// modeling_hunyuan_vl.py.
//
//   two rows of three cells:     start b  c c c n  c c c n  e end     (b, c, n and e are one token)
//   position  sequence           1     2  3 4 5 6  7 8 9 10 11 12
//             column             1     2  0 1 2 3  0 1 2 3  11 12
//             row                1     2  0 0 0 0  1 1 1 1  11 12
//             number of picture  1     2  0 0 0 0  0 0 0 0  11 12
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "prompt/mrope.h"
#include "prompt/picture_input.h"
#include "prompt/processor.h"

namespace quern {
namespace {

constexpr int32_t kImage = 120120, kStart = 120118, kEnd = 120119;
constexpr PixelRange kPixelDefaults{512 * 512, 2048 * 2048};

// An id that files spell in two ways, which must agree.
int32_t id_in(const Config& config, const char* key, const char* other, int32_t published) {
  const auto id =
      config.integer_or(key, config.integer_or(other, published, 0, INT32_MAX), 0, INT32_MAX);
  if (config.integer_or(other, id) != id)
    fail(ErrorCode::data_loss,
         "{}: {} {}, {} {}: they mean the same",
         config.path(),
         key,
         id,
         other,
         config.integer(other, 0));
  return static_cast<int32_t>(id);
}

int axes_in(const Config& config) {
  if (const auto axes = rotary_axes(config)) return *axes;
  fail(ErrorCode::data_loss,
       "{}: rope_scaling: xdrope_section is missing: expected 3 or 4 numbers",
       config.sub_or_self("text_config").path());
}

class HunyuanVl : public Processor {
 public:
  HunyuanVl(const std::string& folder, const Config& config, const ProcessorOptions& options)
      : format_(read_picture_formats(folder, config, kDefaults, kDefaults).image),
        rows_(format_),
        axes_(axes_in(config)),
        image_(id_in(config, "image_token_id", "im_token_id", kImage)),
        start_(id_in(config, "image_start_token_id", "im_start_id", kStart)),
        end_(id_in(config, "image_end_token_id", "im_end_id", kEnd)) {
    if (axes_ < 3 || axes_ > 4 || format_.file.shape.temporal != 1)
      fail(ErrorCode::unsupported,
           "{}: {} rotary axes, patches of {} frames: expected 3 or 4 and 1",
           config.path(),
           axes_,
           format_.file.shape.temporal);
    format_.file.pixels = replaced_range(format_.file.pixels, options);
    rows_.file.shape.merge = 1;  // patches are listed row by row over the whole picture
  }

  std::optional<int32_t> placeholder(MediaKind kind) const override {
    if (kind != MediaKind::image) return std::nullopt;
    return image_;
  }
  int64_t count_tokens(const OpenedMedia& media, const PromptRules&) const override {
    return plan(media).tokens;
  }
  FrameRule frame_rule(const ProcessorOptions&) const override { return {}; }  // no clips
  ResizedMedia resize(const OpenedMedia& media, const PromptRules& rules) const override {
    return resized_frames(media, plan(media), rules.resize);
  }
  std::vector<MediaPiece> pack(const ResizedMedia& media) const override {
    auto input = std::make_shared<MediaInput>(make_picture_input(media.kind, media.frames, rows_));
    input->tokens = media.tokens;
    return {{.input = std::move(input)}};
  }
  MediaInput largest_medium(int64_t max_tokens) const override;
  void place(Prompt& prompt, const PromptRules&) const override;

 private:
  static inline const VisionFile kDefaults{.shape = {.size = 16, .temporal = 1, .merge = 2},
                                           .scaling = {},
                                           .pixels = kPixelDefaults,
                                           .is_filter_ignored = true};

  static int64_t tokens(int64_t rows, int64_t columns) { return rows * (columns + 1) + 2; }
  PicturePlan plan(const OpenedMedia& media) const;
  void check_marks(const Prompt& prompt, const MediaSpan& span) const;

  PictureFormat format_, rows_;  // as the files say; with patches that are cut row by row
  int axes_;
  int32_t image_, start_, end_;
};

PicturePlan HunyuanVl::plan(const OpenedMedia& media) const {
  if (media.kind != MediaKind::image)
    fail(ErrorCode::invalid_argument, "a clip: this model sees pictures; send frames as pictures");
  check_frames(media);
  ImageSize size{media.frames[0].height, media.frames[0].width};
  if (format_.file.do_resize)
    size = smart_resize(size, format_.cell(), narrowed_range(format_.file.pixels, media.options));
  check_unresized(size, format_.cell());
  return {all_frames(1, media.fps),
          size,
          tokens(size.height / format_.cell(), size.width / format_.cell())};
}

MediaInput HunyuanVl::largest_medium(int64_t max_tokens) const {
  const int64_t most = format_.file.pixels.max_pixels / (format_.cell() * format_.cell());
  // A newline for each row: of n tokens in a square some n - sqrt(n) are cells.
  const auto newlines = static_cast<int64_t>(std::sqrt(static_cast<double>(max_tokens))) + 2;
  MediaInput out =
      largest_picture_of(format_.file, std::max<int64_t>(1, std::min(most, max_tokens - newlines)));
  const int64_t merge = format_.file.shape.merge;
  out.tokens = tokens(out.grid_h / merge, out.grid_w / merge);
  return out;
}

// Quality falls silently where a picture does not stand between its marks.
void HunyuanVl::check_marks(const Prompt& prompt, const MediaSpan& span) const {
  const auto id_at = [&](int64_t i) {
    return i >= 0 && i < static_cast<int64_t>(prompt.ids.size())
               ? prompt.ids[static_cast<size_t>(i)]
               : -1;
  };
  const int32_t before = id_at(int64_t{span.first_token} - 1),
                behind = id_at(int64_t{span.first_token} + span.count);
  if (before != start_ || behind != end_)
    fail(ErrorCode::invalid_argument,
         "a picture must stand between the tokens {} and {}, got {} and {}: is this the model's "
         "chat "
         "template?",
         start_,
         end_,
         before,
         behind);
}

void HunyuanVl::place(Prompt& prompt, const PromptRules&) const {
  place_text(prompt, axes_);
  const size_t count = prompt.ids.size();
  // Column, row and number of the picture are the last three axes.
  int32_t* column_axis = prompt.positions.data() + static_cast<size_t>(axes_ - 3) * count;
  for (size_t picture = 0; picture < prompt.media.size(); ++picture) {
    const MediaSpan& span = prompt.media[picture];
    check_marks(prompt, span);
    const int64_t merge = format_.file.shape.merge, width = span.media->grid_w / merge + 1;
    for (int64_t i = 0; i < span.count - 2; ++i) {
      int32_t* at = column_axis + span.first_token + 1 + i;
      at[0] = static_cast<int32_t>(i % width);
      at[count] = static_cast<int32_t>(i / width);
      at[2 * count] = static_cast<int32_t>(picture);
    }
  }
}

}  // namespace

std::unique_ptr<Processor> open_hunyuan_vl(const std::string& folder,
                                           const Config& config,
                                           const ProcessorOptions& options) {
  return std::make_unique<HunyuanVl>(folder, config, options);
}

}  // namespace quern
