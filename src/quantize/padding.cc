// SPDX-License-Identifier: Apache-2.0
#include "quantize/padding.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "weights/stored.h"

namespace quern {
namespace {

// A tensor as [outer, axis, inner].
struct View {
  int64_t outer = 1, inner = 1, element = 1;

  View(const TensorInfo& tensor, int axis) : element(block_of(tensor.stored).bytes) {
    for (int i = 0; i < axis; ++i) outer *= tensor.shape[i];
    for (int i = axis + 1; i < tensor.shape.rank(); ++i) inner *= tensor.shape[i];
  }
  size_t bytes(int64_t entries) const { return static_cast<size_t>(entries * inner * element); }
};

// Calls kept(begin, entries) and added(begin, entries) of each run, counted in entries of the old
// and of the new axis.
void for_runs(const AxisPadding& padding,
              const Runs& runs,
              FunctionRef<void(int64_t, int64_t)> kept,
              FunctionRef<void(int64_t, int64_t)> added) {
  int64_t old_at = 0, new_at = 0, old_channels = 0, new_channels = 0;
  for (const Run& run : runs) {
    new_channels += run.count;
    const int64_t entries = padding.entries_of(new_channels) - new_at;
    if (run.is_added) {
      added(new_at, entries);
    } else {
      old_channels += run.count;
      const int64_t taken = padding.entries_of(old_channels) - old_at;
      if (taken != entries) fail(ErrorCode::data_loss, "a run of channels begins inside an entry");
      kept(old_at, taken);
      old_at += taken;
    }
    new_at += entries;
  }
}

int64_t entries_added(const AxisPadding& padding, const Runs& runs) {
  return padding.entries_of(all_channels(runs)) - padding.entries_of(kept_channels(runs));
}

// One entry of fill, `inner` elements.
class Filler {
 public:
  Filler(const View& view, const AxisPadding& padding)
      : view_(view), padding_(padding), entry_(view.bytes(1)) {}

  std::span<const std::byte> entry(int64_t outer, int64_t at) {
    const auto period = static_cast<int64_t>(padding_.fill.size());
    for (int64_t i = 0; i < view_.inner; ++i) {
      const int64_t phase = padding_.fill_axis == padding_.axis  ? at
                            : padding_.fill_axis < padding_.axis ? outer
                                                                 : i;
      const uint64_t value = padding_.fill[static_cast<size_t>(phase % period)];
      std::memcpy(entry_.data() + i * view_.element, &value, static_cast<size_t>(view_.element));
    }
    return entry_;
  }

 private:
  View view_;
  const AxisPadding& padding_;
  std::vector<std::byte> entry_;
};

}  // namespace

int64_t kept_channels(const Runs& runs) {
  int64_t count = 0;
  for (const Run& run : runs) count += run.is_added ? 0 : run.count;
  return count;
}

int64_t all_channels(const Runs& runs) {
  int64_t count = 0;
  for (const Run& run : runs) count += run.count;
  return count;
}

Runs tail_runs(int64_t channels, int64_t padded) {
  Runs runs{{channels, false}};
  if (padded > channels) runs.push_back({padded - channels, true});
  return runs;
}

Runs interleaved_runs(int64_t channels, int64_t padded, int64_t granule, int parts) {
  QUERN_CHECK(padded % (granule * parts) == 0 && channels % granule == 0);
  const int64_t kept = channels / granule, each = padded / granule / parts;
  Runs runs;
  for (int64_t p = 0; p < parts; ++p) {
    const int64_t mine = kept / parts + (p < kept % parts ? 1 : 0);
    if (mine > 0) runs.push_back({mine * granule, false});
    if (each > mine) runs.push_back({(each - mine) * granule, true});
  }
  return runs;
}

Shape padded_shape(const TensorInfo& tensor, const AxisPadding& padding, const Runs& runs) {
  Shape shape = tensor.shape;
  shape.set(padding.axis, shape[padding.axis] + padding.halves * entries_added(padding, runs));
  return shape;
}

void pad_axis(const TensorInfo& tensor,
              std::span<const std::byte> bytes,
              const AxisPadding& padding,
              const Runs& runs,
              ByteSink out) {
  const View view(tensor, padding.axis);
  const size_t half = view.bytes(tensor.shape[padding.axis] / padding.halves);
  Filler filler(view, padding);
  for (int64_t o = 0; o < view.outer * padding.halves; ++o) {
    const auto old = bytes.subspan(static_cast<size_t>(o) * half, half);
    for_runs(
        padding,
        runs,
        [&](int64_t begin, int64_t count) {
          out(old.subspan(view.bytes(begin), view.bytes(count)));
        },
        [&](int64_t begin, int64_t count) {
          for (int64_t i = 0; i < count; ++i) out(filler.entry(o / padding.halves, begin + i));
        });
  }
}

void unpad_axis(const TensorInfo& original,
                std::span<const std::byte> padded,
                const AxisPadding& padding,
                const Runs& runs,
                ByteSink out) {
  const View view(original, padding.axis);
  const int64_t entries =
      original.shape[padding.axis] / padding.halves + entries_added(padding, runs);
  const size_t half = view.bytes(entries);
  for (int64_t o = 0; o < view.outer * padding.halves; ++o) {
    const auto all = padded.subspan(static_cast<size_t>(o) * half, half);
    int64_t skipped = 0;
    for_runs(
        padding,
        runs,
        [&](int64_t begin, int64_t count) {
          out(all.subspan(view.bytes(begin + skipped), view.bytes(count)));
        },
        [&](int64_t, int64_t count) { skipped += count; });
  }
}

}  // namespace quern
