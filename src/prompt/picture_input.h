// SPDX-License-Identifier: Apache-2.0
// What the processors of pictures and clips share: the files, the checks, the way from frames to a
// MediaInput.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "prompt/media_source.h"
#include "prompt/patches.h"
#include "prompt/prompt_rules.h"
#include "prompt/resized_media.h"
#include "prompt/vision_files.h"

namespace quern {

// One kind of medium as the files describe it.
struct PictureFormat {
  VisionFile file;
  ChannelTables tables;

  int64_t cell() const { return file.shape.size * file.shape.merge; }  // pixels of a token's side
};

struct PictureFormats {
  PictureFormat image, video;
  bool has_video_file = false;  // a file of its own; older folders have one for both
};

// The processors' files in `folder`, with the class's values where they are silent. Throws
// data_loss where they contradict vision_config.
PictureFormats read_picture_formats(const std::string& folder,
                                    const Config& config,
                                    const VisionFile& image_defaults,
                                    const VisionFile& video_defaults);

// Throws invalid_argument for a medium without frames, frames of several sizes, or no frame rate.
void check_frames(const OpenedMedia& media);
// Throws invalid_argument where a picture that is not resized is no whole number of cells.
void check_unresized(ImageSize size, int64_t cell);
// `range` with what the server states in its place, of a picture that counts `times` times. Throws
// invalid_argument where no size lies between its ends.
PixelRange replaced_range(PixelRange range, const ProcessorOptions& stated, int64_t times = 1);
// `range`, narrowed by what a message states, likewise.
PixelRange narrowed_range(PixelRange range, const ProcessorOptions& asked, int64_t times = 1);

// What becomes of a medium: which frames, at which size.
struct PicturePlan {
  ClipFrames frames;
  ImageSize size;
  int64_t tokens = 0;  // decoder tokens
};

// Temporal patches of so many frames.
int64_t count_times(int64_t frames, const PictureFormat& format);
// Cells of `times` temporal patches of one size.
int64_t count_cells(int64_t times, ImageSize size, const PictureFormat& format);
// The frames of a plan, resized.
ResizedMedia resized_frames(const OpenedMedia& media, const PicturePlan& plan, ResizeRule rule);
// Values, grid and hash of frames of one size; a token for every cell.
MediaInput make_picture_input(MediaKind kind,
                              std::span<const Image> frames,
                              const PictureFormat& format,
                              double seconds_per_grid = 0);
// Of kind, grid and values: equal hashes mean equal encoder rows.
Hash128 hash_of(const MediaInput& input);
// The shape, without values, of the largest picture of at most `cells` cells.
MediaInput largest_picture_of(const VisionFile& file, int64_t cells);

}  // namespace quern
