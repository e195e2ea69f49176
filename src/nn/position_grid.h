// SPDX-License-Identifier: Apache-2.0
// PositionGrid: learned positions of a square of patches, resampled to the grid of a picture.
#pragma once

#include <span>
#include <string_view>

#include "nn/builder.h"
#include "ops/elementwise.h"

namespace quern {

struct PositionGridConfig {
  int64_t side = 0, width = 0;  // the table has side x side rows of `width`, row by row
  int64_t unused_rows = 0;      // that stand in front of these in the file (a class token's)
  enum class Filter : uint8_t {
    bilinear,  // 4 taps
    bicubic,   // 16 taps, Keys 1981 with a = -3/4
  } filter = Filter::bilinear;
  // Patch i of n reads the table at (i + 1/2) side / (n + overhang) - 1/2: some implementations
  // state sizes a little too large, so that rounding down gives the size they mean.
  double overhang = 0;
};

// Where the patches of an h x w grid fall on the table, and with what weights; positions [2, P]:
// the row, then the column of each patch. Taps beyond an edge read the edge; nothing is smoothed
// where the grid is coarser than the table. In float32, as the reference computes it.
ops::RowMix resample_positions(const PositionGridConfig& config,
                               int64_t h,
                               int64_t w,
                               std::span<const int32_t> positions);

class PositionGrid {
 public:
  // `name`: the table below the cursor. Throws unsupported for a quantized one.
  PositionGrid(const Builder& b, std::string_view name, const PositionGridConfig& config);

  // -> [P, width], rows of the patches at `positions` [2, P] of an h x w grid.
  Tensor operator()(Ctx& ctx, int64_t h, int64_t w, std::span<const int32_t> positions) const;

 private:
  PositionGridConfig config_;
  Table table_;
};

}  // namespace quern
