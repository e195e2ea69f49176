// SPDX-License-Identifier: Apache-2.0
// Ctx: what one op call needs. Built once per rank, passed down by reference; no global state
// stands behind it.
#pragma once

#include "base/thread_pool.h"
#include "base/topology.h"
#include "tensor/arena.h"
#include "tensor/device.h"

namespace quern {

class Communicator;

// How activations enter a matrix product, attention inside towers included. Accumulation and every
// other op are float32 in each mode.
enum class Activation : uint8_t { f32, bf16, f16, int8 };

struct Ctx {
  Device device;
  Stream stream;
  ThreadPool* pool = nullptr;  // null on meta
  Arena* arena = nullptr;
  Isa isa =
      Isa::scalar;  // the best tier that kernels may use; `scalar` runs the plain-loop reference
  Activation activation = Activation::f32;
  // Where this rank meets the others that share its layers, and those that hold the layers before
  // and after. Null: there are none.
  Communicator* ranks = nullptr;
  Communicator* stages = nullptr;

  Tensor empty(const Shape& shape, DType dtype = DType::f32) const {
    return arena->empty(shape, dtype);
  }
};

}  // namespace quern
