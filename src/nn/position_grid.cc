// SPDX-License-Identifier: Apache-2.0
// Sources: torch 2.15, aten/native/GridSampler (bicubic, border, align_corners false) and UpSample
// (bilinear, align_corners false).
#include "nn/position_grid.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace quern {
namespace {

constexpr int kMostTaps = 4;

// The taps of one axis.
struct Axis {
  int count = 0;
  std::array<int32_t, kMostTaps> index{};
  std::array<float, kMostTaps> weight{};
};

// Keys' kernel at distances up to 1, and from 1 to 2.
float near_weight(float d) {
  constexpr float a = -0.75f;
  return ((a + 2) * d - (a + 3)) * d * d + 1;
}
float far_weight(float d) {
  constexpr float a = -0.75f;
  return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

Axis bicubic_axis(float at, int64_t side) {
  const float low = std::floor(at), t = at - low;
  Axis axis{4, {}, {far_weight(t + 1), near_weight(t), near_weight(1 - t), far_weight(2 - t)}};
  for (int i = 0; i < 4; ++i)
    axis.index[static_cast<size_t>(i)] =
        static_cast<int32_t>(std::clamp<int64_t>(static_cast<int64_t>(low) - 1 + i, 0, side - 1));
  return axis;
}

Axis bilinear_axis(float at, int64_t side) {
  at = std::clamp(at, 0.0f, static_cast<float>(side - 1));
  const auto low = static_cast<int64_t>(at);
  const float t = at - static_cast<float>(low);
  return {2,
          {static_cast<int32_t>(low), static_cast<int32_t>(std::min(low + 1, side - 1))},
          {1 - t, t}};
}

Axis axis_of(const PositionGridConfig& c, int32_t patch, int64_t count) {
  const double scale = static_cast<double>(c.side) / (static_cast<double>(count) + c.overhang);
  const float at = (static_cast<float>(patch) + 0.5f) * static_cast<float>(scale) - 0.5f;
  return c.filter == PositionGridConfig::Filter::bicubic ? bicubic_axis(at, c.side)
                                                         : bilinear_axis(at, c.side);
}

}  // namespace

ops::RowMix resample_positions(const PositionGridConfig& config,
                               int64_t h,
                               int64_t w,
                               std::span<const int32_t> positions) {
  const size_t patches = positions.size() / 2;
  const bool is_bicubic = config.filter == PositionGridConfig::Filter::bicubic;
  ops::RowMix mix{.taps = is_bicubic ? 16 : 4, .rows = {}, .weights = {}};
  mix.rows.reserve(patches * static_cast<size_t>(mix.taps));
  mix.weights.reserve(mix.rows.capacity());
  for (size_t i = 0; i < patches; ++i) {
    const Axis row = axis_of(config, positions[i], h),
               column = axis_of(config, positions[patches + i], w);
    for (size_t r = 0; r < static_cast<size_t>(row.count); ++r)
      for (size_t c = 0; c < static_cast<size_t>(column.count); ++c) {
        mix.rows.push_back(row.index[r] * static_cast<int32_t>(config.side) + column.index[c]);
        mix.weights.push_back(row.weight[r] * column.weight[c]);
      }
  }
  return mix;
}

PositionGrid::PositionGrid(const Builder& b,
                           std::string_view name,
                           const PositionGridConfig& config)
    : config_(config),
      table_(
          b.table(name, Cut::whole(config.side * config.side + config.unused_rows), config.width)) {
  if (!table_.floats().defined())
    fail(ErrorCode::unsupported, "{}.{}: positions must be of f32, f16 or bf16", b.prefix(), name);
}

Tensor PositionGrid::operator()(Ctx& ctx,
                                int64_t h,
                                int64_t w,
                                std::span<const int32_t> positions) const {
  const Tensor& all = table_.floats();
  return ops::mix_rows(ctx,
                       all.slice(0, config_.unused_rows, all.dim(0)),
                       resample_positions(config_, h, w, positions));
}

}  // namespace quern
