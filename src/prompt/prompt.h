// SPDX-License-Identifier: Apache-2.0
// Prompt: ids, positions, media with their spans. All that the engine ever sees of a conversation.
// Immutable once built.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "media/media_input.h"

namespace quern {

// `count` placeholder tokens from `first_token` on stand for the rows of `media`.
struct MediaSpan {
  std::shared_ptr<const MediaInput> media;
  int32_t first_token = 0;
  int32_t count = 0;
};

struct Prompt {
  std::vector<int32_t> ids;        // [T], placeholders expanded
  std::vector<int32_t> positions;  // [A, T] row-major
  int axes = 1;                    // A: 1, or 3 for M-RoPE, 4 for XD-RoPE
  // A token at index i >= T stands at position i + rope_delta on every axis.
  int32_t rope_delta = 0;
  std::vector<MediaSpan> media;  // ascending, disjoint
  std::string text;  // as rendered, before placeholders were expanded; empty for a prompt of ids
};

}  // namespace quern
