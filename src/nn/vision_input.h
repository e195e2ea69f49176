// SPDX-License-Identifier: Apache-2.0
// What a tower takes from a MediaInput that holds patches, or mel frames.
#pragma once

#include "media/media_input.h"
#include "nn/vision_grid.h"
#include "tensor/ctx.h"

namespace quern {

// The grid of a picture or clip for a tower that merges merge x merge patches of `patch_values`
// values each. Throws invalid_argument where the two do not fit: preprocessor_config.json and
// config.json disagree.
PatchGrid grid_of(const MediaInput& media, int64_t merge, int64_t patch_values);

// [P, patch_values] or [frames, bands], borrowed from `media`; on meta the shape alone
// (media.values may be empty).
Tensor patch_values(const Ctx& ctx, const MediaInput& media);

}  // namespace quern
