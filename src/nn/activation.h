// SPDX-License-Identifier: Apache-2.0
// Activation functions by the names that config.json uses.
#pragma once

#include <string_view>

#include "tensor/ctx.h"

namespace quern {

using InPlaceOp = void (*)(Ctx& ctx, Tensor& x);
// [T, 2F], gate left and up right -> activation(gate) * up [T, F]
using GateOp = Tensor (*)(Ctx& ctx, const Tensor& gate_up);

// "silu" (also "swish"), "gelu", "gelu_pytorch_tanh" (also "gelu_new"), "quick_gelu"; throws
// unsupported naming `where`.
InPlaceOp activation_op(std::string_view name, std::string_view where);
// For gated layers, which have one op for gate and up: "silu", "gelu" and "gelu_pytorch_tanh" under
// the same names; throws unsupported naming `where`.
GateOp gate_op(std::string_view name, std::string_view where);
// For families whose gated layers are carried with silu alone: throws unsupported for another.
void require_silu(std::string_view name, std::string_view where);

}  // namespace quern
