// SPDX-License-Identifier: Apache-2.0
// OwnedCtx: a Ctx together with the thread pool and arena that stand behind it.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "base/topology.h"
#include "tensor/arena.h"
#include "tensor/ctx.h"

namespace quern {

class OwnedCtx {
 public:
  struct Options {
    int threads = 1;
    Isa isa = Isa::scalar;
    Activation activation = Activation::f32;
    int64_t arena_bytes = 0;  // what exceeds it comes from the heap
  };

  explicit OwnedCtx(const Options& options);
  // Shapes only. The arena's peak and the packed bytes are those of a run on this tier with this
  // activation.
  static OwnedCtx meta(Isa isa, Activation activation = Activation::f32);

  // Points into this object, which must outlive its users.
  Ctx& ctx() { return ctx_; }
  Arena& arena() { return arena_; }

 private:
  OwnedCtx(Device device, const Options& options);

  ThreadPool pool_;
  Arena arena_;
  Ctx ctx_;
};

}  // namespace quern
