// SPDX-License-Identifier: Apache-2.0
// The sizes of stored elements, and shapes from outside. Shared by the containers and formats of
// this room.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "tensor/dtype.h"
#include "weights/checkpoint.h"

namespace quern {

// No tensor that exists comes near this; all sums of sizes below it stay far from overflow.
constexpr uint64_t kMaxElements = uint64_t{1} << 48;

// GGUF's block types store `elements` consecutive elements of a row in `bytes`; all others store
// one.
struct Block {
  int64_t elements, bytes;
};

Block block_of(Stored stored);
// Null for block types.
std::optional<DType> dtype_of(Stored stored);
// A shape from a file: throws unsupported for too many axes, data_loss for a product beyond
// kMaxElements.
Shape checked_shape(std::span<const uint64_t> dims, std::string_view where);
// Bytes of a tensor. Throws data_loss if its rows are not whole blocks.
int64_t stored_bytes(Stored stored, const Shape& shape, std::string_view where);

}  // namespace quern
