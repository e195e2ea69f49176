// SPDX-License-Identifier: Apache-2.0
#include "nn/vision_input.h"

#include "base/error.h"

namespace quern {

PatchGrid grid_of(const MediaInput& media, int64_t merge, int64_t patch_values) {
  const PatchGrid grid{media.grid_t, media.grid_h, media.grid_w, merge};
  const bool is_whole = grid.t >= 1 && grid.h >= merge && grid.w >= merge && grid.h % merge == 0 &&
                        grid.w % merge == 0;
  if (!is_whole || media.rows != grid.patches() || media.row_size != patch_values)
    fail(ErrorCode::invalid_argument,
         "media of {} patches with {} values, a grid of {} x {} x {}: the model expects {} values "
         "and sides that are multiples of "
         "{}; preprocessor_config.json and config.json do not belong together",
         media.rows,
         media.row_size,
         grid.t,
         grid.h,
         grid.w,
         patch_values,
         merge);
  return grid;
}

Tensor patch_values(const Ctx& ctx, const MediaInput& media) {
  const Shape shape{media.rows, media.row_size};
  if (ctx.device.is_meta()) return Tensor::empty(shape, DType::f32, ctx.device);
  QUERN_CHECK(static_cast<int64_t>(media.values.size()) == shape.numel(),
              "{} values for {}",
              media.values.size(),
              shape.text());
  return Tensor::borrow(media.values.data(), shape, DType::f32);
}

}  // namespace quern
