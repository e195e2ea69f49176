// SPDX-License-Identifier: Apache-2.0
// Padding of one axis of stored tensors: which channels are kept, which are added, and what the
// added entries hold. Pure byte work: nothing is decoded, so what is kept stays bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "tensor/shape.h"
#include "weights/checkpoint.h"

namespace quern {

// The new order of channels: runs of old ones, in order, and of added ones between them.
struct Run {
  int64_t count = 0;
  bool is_added = false;
};
using Runs = std::vector<Run>;

int64_t kept_channels(const Runs& runs);
int64_t all_channels(const Runs& runs);
// [kept][added].
Runs tail_runs(int64_t channels, int64_t padded);
// `parts` equal parts, each [kept][added], cut at multiples of `granule`. The kept granules are
// dealt evenly, the first parts taking one more. padded / granule must divide by `parts`.
Runs interleaved_runs(int64_t channels, int64_t padded, int64_t granule, int parts);

// Along `axis`, `entries` stored entries hold `channels` channels (packed 4-bit words: 1 and 8;
// groups: 1 and 128; three words of 3 bits: 3 and 32). Runs meet entries at whole ones, save at the
// end. The axis is `halves` such axes one behind the other (a fused gate_up: 2).
struct AxisPadding {
  int axis = 0;
  int64_t entries = 1, channels = 1;
  int halves = 1;
  // What added entries hold, one element (of the tensor's dtype) each in turn along `fill_axis`.
  std::vector<uint64_t> fill;
  int fill_axis = 0;
  int64_t entries_of(int64_t count) const { return (count + channels - 1) / channels * entries; }
};

using ByteSink = FunctionRef<void(std::span<const std::byte>)>;

// The shape with the axis padded.
Shape padded_shape(const TensorInfo& tensor, const AxisPadding& padding, const Runs& runs);
// Streams the padded tensor to `out`.
void pad_axis(const TensorInfo& tensor,
              std::span<const std::byte> bytes,
              const AxisPadding& padding,
              const Runs& runs,
              ByteSink out);
// The inverse: streams what was kept of a padded tensor. `original` is its description before.
void unpad_axis(const TensorInfo& original,
                std::span<const std::byte> padded,
                const AxisPadding& padding,
                const Runs& runs,
                ByteSink out);

}  // namespace quern
