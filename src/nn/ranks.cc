// SPDX-License-Identifier: Apache-2.0
#include "nn/ranks.h"

#include "base/error.h"

namespace quern {
namespace {

void require_meta(const Ctx& ctx, const Shard& shard) {
  if (ctx.device.is_meta()) return;
  fail(ErrorCode::unsupported,
       "{} ranks on {}: this build runs a model on one rank; start with --tensor-parallel-size 1",
       shard.size(),
       ctx.device.text());
}

}  // namespace

void all_reduce_(Ctx& ctx, Tensor& y, const Shard& shard) {
  if (shard.size() == 1 || !y.defined()) return;
  require_meta(ctx, shard);
}

Tensor all_gather(Ctx& ctx, const Tensor& y, int64_t length, const Shard& shard) {
  if (shard.size() == 1) return y;
  require_meta(ctx, shard);
  return ctx.empty({y.dim(0), length});
}

}  // namespace quern
