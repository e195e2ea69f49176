// SPDX-License-Identifier: Apache-2.0
// What every op's dispatch says when a device has no implementation. Private to the room.
#pragma once

#include <string_view>

#include "base/error.h"
#include "tensor/ctx.h"

namespace quern::ops {

// Ops are carried for the CPU today. Throws unsupported for any other device, naming op, device and
// element kind.
inline void require_cpu(const Ctx& ctx, std::string_view op, DType dtype) {
  if (ctx.device.kind != DeviceKind::cpu)
    fail(ErrorCode::unsupported,
         "{}: no implementation for device {} and {} elements; run on the CPU",
         op,
         ctx.device.text(),
         name_of(dtype));
}

inline bool is_f32(const Tensor& t) {
  return t.dtype() == DType::f32;
}

// Rows of this width per chunk of parallel_for, so that a chunk is worth waking a thread for.
inline int64_t row_grain(int64_t width) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1));
}

}  // namespace quern::ops
