// SPDX-License-Identifier: Apache-2.0
// What preprocessor_config.json and its relatives say about pictures.
#pragma once

#include <optional>
#include <string>

#include "media/image/smart_resize.h"
#include "prompt/patches.h"
#include "weights/config.h"

namespace quern {

struct VisionFile {
  PatchShape shape = {};
  PixelScaling scaling = {};
  PixelRange pixels = {};  // of a resized picture, or of one frame
  bool do_resize = true;
  std::string processor_class = {};
  bool is_filter_ignored = false;  // the file's resample; bicubic whatever it says
};

// Reads one configuration; `defaults` are the class's where the file is silent. Throws data_loss
// for values that cannot be, unsupported for another filter than bicubic.
VisionFile read_vision_file(const Config& config, const VisionFile& defaults);

// The part for pictures: image_processor of processor_config.json, else preprocessor_config.json;
// empty if the folder has neither.
std::optional<Config> find_image_config(const std::string& folder);
// The part for clips: video_processor of processor_config.json, else
// video_preprocessor_config.json; empty likewise.
std::optional<Config> find_video_config(const std::string& folder);

}  // namespace quern
