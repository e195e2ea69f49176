// SPDX-License-Identifier: Apache-2.0
// Where ranks meet inside a forward pass: those that share layers (Ctx::ranks) and those that hold
// the layers before and after (Ctx::stages). Alone, all of it returns at once; on `meta` it gives
// shapes, and counts if ctx has a communicator that does.
#pragma once

#include "tensor/ctx.h"
#include "tensor/shard.h"

namespace quern {

// y += the y of every other rank: after a layer that is split along K.
void all_reduce_(Ctx& ctx, Tensor& y, const Shard& shard);

// The ranks' [T, n_r], n_r the rank's part of `length`, side by side on rank 0: [T, length].
// Elsewhere undefined: nobody but rank 0 is asked for it.
Tensor gather(Ctx& ctx, const Tensor& y, const Shard& shard, int64_t length);

// Hidden states [T, D] from one stage to the next.
void send_to_next_stage(Ctx& ctx, const Tensor& h, const Shard& stage);
Tensor receive_from_previous_stage(Ctx& ctx, const Shape& shape, const Shard& stage);

}  // namespace quern
