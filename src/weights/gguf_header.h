// SPDX-License-Identifier: Apache-2.0
// The GGUF container, little-endian: magic, version, counts, metadata (key, type, value)…, tensors
// (name, shape, type, offset)…, then aligned tensor bytes. Source: docs/gguf.md of the ggml
// project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/gguf_metadata.h"

namespace quern {

struct GgufTensor {
  std::string name;  // as stored: "blk.0.attn_q.weight"
  Stored stored = Stored::f32;
  Shape shape;  // outermost first (the file counts from the innermost)
  std::span<const std::byte> bytes;
};

struct GgufHeader {
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // by rising offset
};

// Reads and validates everything before the tensor data of a whole file in memory; values and
// tensors point into it. `where` names it in messages. Counts are bounded by the bytes left,
// strings and arrays lie inside the file, the alignment is a power of two, tensors are aligned,
// inside the file and do not overlap: else data_loss. Versions other than 2 and 3, big-endian files
// and block types that this build lacks are unsupported.
GgufHeader parse_gguf_header(std::span<const std::byte> file, std::string_view where);

}  // namespace quern
