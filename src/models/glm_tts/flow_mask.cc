// SPDX-License-Identifier: Apache-2.0
#include "models/glm_tts/flow_mask.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kLongBlock = 172;
constexpr int64_t kMostFrames = (int64_t{1} << 31) - 1;

// Frames behind a row that it sees at least.
int64_t least_future(int64_t block) {
  return block <= kLongBlock ? block / 2
                             : static_cast<int64_t>(static_cast<double>(block) / 1.5);
}

}  // namespace

std::vector<int32_t> visible_frames(std::span<const int64_t> blocks, int64_t frames) {
  const bool is_usable = frames >= 0 && frames <= kMostFrames && !blocks.empty() &&
                         blocks.back() > 0 &&
                         std::ranges::all_of(blocks, [](int64_t size) { return size >= 0; });
  if (!is_usable)
    fail(ErrorCode::invalid_argument,
         "blocks of frames: expected sizes from 0 on, the last above 0, got {} sizes for {} frames",
         blocks.size(),
         frames);
  std::vector<int32_t> out;
  out.reserve(static_cast<size_t>(frames));
  int64_t begin = 0;
  for (size_t i = 0; begin < frames; i = std::min(i + 1, blocks.size() - 1)) {
    const int64_t size = std::min(blocks[i], kMostFrames), end = begin + size;
    for (int64_t row = begin; row < std::min(end, frames); ++row) {
      const int64_t missing = std::max<int64_t>(0, least_future(size) - (end - 1 - row));
      out.push_back(static_cast<int32_t>(std::min(end + missing, frames)));
    }
    begin = end;
  }
  return out;
}

int64_t published_block_frames(int64_t tokens) {
  const int64_t bounded = std::min(tokens, kMostFrames);
  return static_cast<int64_t>(static_cast<double>(bounded) / 12.5 * 22050 / 256);
}

}  // namespace quern
