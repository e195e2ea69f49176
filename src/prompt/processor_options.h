// SPDX-License-Identifier: Apache-2.0
// ProcessorOptions: what is asked of a media processor beyond the model's own files; vLLM's
// mm_processor_kwargs.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/json.h"

namespace quern {

// 0: not stated.
struct ProcessorOptions {
  int64_t min_pixels = 0, max_pixels = 0;  // of a resized picture, or of one frame
  double fps = 0;                          // frames that are taken of a second of a clip
  // Frames that are taken of a clip: as many as num_frames says, or as fps makes between these.
  int64_t num_frames = 0, min_frames = 0, max_frames = 0;

  bool operator==(const ProcessorOptions&) const = default;

  // {"min_pixels", "max_pixels", "size": {"shortest_edge", "longest_edge"} (the same two under
  // another name), "fps", "num_frames", "min_frames", "max_frames"}. Throws invalid_argument naming
  // `where`, the key and, for an unknown one, the nearest.
  static ProcessorOptions parse(const Json& json, std::string_view where);
  // Both together: of two limits the tighter, else what `other` states before what this does.
  ProcessorOptions narrowed_by(const ProcessorOptions& other) const;
};

}  // namespace quern
