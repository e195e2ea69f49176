// SPDX-License-Identifier: Apache-2.0
#include "nn/activation.h"

#include "base/error.h"
#include "ops/elementwise.h"

namespace quern {

InPlaceOp activation_op(std::string_view name, std::string_view where) {
  if (name == "silu" || name == "swish") return ops::silu_;
  if (name == "gelu") return ops::gelu_;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return ops::gelu_tanh_;
  if (name == "quick_gelu") return ops::quick_gelu_;
  fail(ErrorCode::unsupported,
       "{}: hidden_act {}: expected silu, gelu, gelu_pytorch_tanh or quick_gelu",
       where,
       name);
}

GateOp gate_op(std::string_view name, std::string_view where) {
  if (name == "silu" || name == "swish") return ops::silu_mul;
  if (name == "gelu") return ops::gelu_mul;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return ops::gelu_tanh_mul;
  fail(ErrorCode::unsupported,
       "{}: hidden_act {}: gated layers are carried with silu, gelu (exact) and gelu_pytorch_tanh",
       where,
       name);
}

void require_silu(std::string_view name, std::string_view where) {
  if (name != "silu" && name != "swish")
    fail(ErrorCode::unsupported,
         "{}: hidden_act {}: gated layers of this family are carried with silu only",
         where,
         name);
}

}  // namespace quern
