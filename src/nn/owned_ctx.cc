// SPDX-License-Identifier: Apache-2.0
#include "nn/owned_ctx.h"

namespace quern {

OwnedCtx::OwnedCtx(Device device, const Options& options)
    : pool_(options.threads), arena_(device, options.arena_bytes) {
  ctx_.device = device;
  ctx_.pool = device.is_meta() ? nullptr : &pool_;
  ctx_.arena = &arena_;
  ctx_.isa = options.isa;
  ctx_.activation = options.activation;
}

OwnedCtx::OwnedCtx(const Options& options) : OwnedCtx(Device::cpu(), options) {}

OwnedCtx OwnedCtx::meta(Isa isa, Activation activation) {
  return OwnedCtx(Device::meta(),
                  {.threads = 1, .isa = isa, .activation = activation, .arena_bytes = 0});
}

}  // namespace quern
