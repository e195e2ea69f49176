// SPDX-License-Identifier: Apache-2.0
// The two places where ranks meet inside a forward pass. With one rank both return at once; on
// `meta` they give shapes.
#pragma once

#include "tensor/ctx.h"
#include "tensor/shard.h"

namespace quern {

// y += the y of every other rank: after a layer that is split along K. Throws unsupported for more
// than one rank on a real device: this build has no way between ranks.
void all_reduce_(Ctx& ctx, Tensor& y, const Shard& shard);

// Puts the ranks' [T, n_r] side by side: [T, length].
Tensor all_gather(Ctx& ctx, const Tensor& y, int64_t length, const Shard& shard);

}  // namespace quern
