// SPDX-License-Identifier: Apache-2.0
#include "nn/ranks.h"

#include <algorithm>

#include "base/error.h"
#include "comm/communicator.h"

namespace quern {
namespace {

// Null where nothing travels: on meta, unless somebody counts.
Communicator* meeting(const Ctx& ctx, Communicator* group, const Shard& shard) {
  QUERN_CHECK(group != nullptr || ctx.device.is_meta(),
              "rank {} of {} is alone",
              shard.rank(),
              shard.size());
  QUERN_CHECK(group == nullptr || (group->rank() == shard.rank() && group->size() == shard.size()));
  return group;
}

// On meta a span without memory: who counts looks at its size alone.
std::span<float> values_of(const Tensor& t) {
  QUERN_CHECK(t.is_contiguous() && t.dtype() == DType::f32, "{}", t.shape().text());
  return {t.data<float>(), static_cast<size_t>(t.numel())};
}

// What rank 0 gets: the ranks' matrices one behind the other; turned into one matrix.
void put_side_by_side(const float* from, const Shard& shard, const Tensor& out) {
  const int64_t rows = out.dim(0), length = out.dim(1);
  for (int r = 0; r < shard.size(); ++r) {
    const Range part = shard.range_of(r, length);
    for (int64_t t = 0; t < rows; ++t, from += part.size())
      std::copy_n(from, part.size(), out.data<float>() + t * length + part.begin);
  }
}

}  // namespace

void all_reduce_(Ctx& ctx, Tensor& y, const Shard& shard) {
  if (shard.size() == 1) return;
  if (Communicator* group = meeting(ctx, ctx.ranks, shard)) group->all_reduce_sum(values_of(y));
}

Tensor gather(Ctx& ctx, const Tensor& y, const Shard& shard, int64_t length) {
  if (shard.size() == 1) return y;
  const int64_t rows = y.dim(0);
  const bool is_first = shard.rank() == 0;
  Tensor parts = is_first ? ctx.empty({rows * length}) : Tensor();
  if (Communicator* group = meeting(ctx, ctx.ranks, shard)) {
    std::vector<int64_t> counts;
    for (int r = 0; r < shard.size(); ++r)
      counts.push_back(rows * shard.range_of(r, length).size());
    group->gather(values_of(y), counts, is_first ? values_of(parts) : std::span<float>());
  }
  if (!is_first) return {};
  Tensor out = ctx.empty({rows, length});
  if (!ctx.device.is_meta()) put_side_by_side(parts.data<float>(), shard, out);
  return out;
}

void send_to_next_stage(Ctx& ctx, const Tensor& h, const Shard& stage) {
  if (Communicator* group = meeting(ctx, ctx.stages, stage))
    group->send(stage.rank() + 1, values_of(h));
}

Tensor receive_from_previous_stage(Ctx& ctx, const Shape& shape, const Shard& stage) {
  const Tensor h = ctx.empty(shape);
  if (Communicator* group = meeting(ctx, ctx.stages, stage))
    group->receive(stage.rank() - 1, values_of(h));
  return h;
}

}  // namespace quern
