// SPDX-License-Identifier: Apache-2.0
// Which frames a frame sees where a recording is made block by block.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quern {

// Frames fall into blocks of these sizes, one after the other; the last size repeats. Row i sees
// all frames up to the end of its block, and so many of the next that at least half a block of
// frames behind it are seen, or two thirds of one where the block is longer than 172; no more than
// there are. -> [frames]. Throws invalid_argument for a negative size or a last one of 0.
std::vector<int32_t> visible_frames(std::span<const int64_t> blocks, int64_t frames);

// The size of a block of so many tokens as the published streaming routine reckons it, with the
// rates of another model (12.5 tokens and 22050 / 256 frames a second): 25 tokens are 172 frames,
// not 50.
int64_t published_block_frames(int64_t tokens);

}  // namespace quern
