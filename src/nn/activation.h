// SPDX-License-Identifier: Apache-2.0
// Activation functions by the names that config.json uses.
#pragma once

#include <string_view>

#include "tensor/ctx.h"

namespace quern {

using InPlaceOp = void (*)(Ctx& ctx, Tensor& x);

// "silu" (also "swish"), "gelu", "gelu_pytorch_tanh" (also "gelu_new"), "quick_gelu"; throws
// unsupported naming `where`.
InPlaceOp activation_op(std::string_view name, std::string_view where);
// For gated layers, which have one op for gate and up: throws unsupported unless `name` is silu.
void require_silu(std::string_view name, std::string_view where);

}  // namespace quern
