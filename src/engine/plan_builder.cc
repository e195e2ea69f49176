// SPDX-License-Identifier: Apache-2.0
#include "engine/plan_builder.h"

#include <algorithm>

namespace quern {
namespace {

void add_sequence(Batch& b, const Slice& slice) {
  const Sequence& s = *slice.sequence;
  const int64_t end = slice.begin + slice.count;
  b.tokens.insert(
      b.tokens.end(), s.tokens.begin() + slice.begin, s.tokens.begin() + end - slice.drafts);
  b.tokens.insert(b.tokens.end(), s.draft.begin(), s.draft.begin() + slice.drafts);
  for (int64_t i = slice.begin; i < end; ++i) b.slots.push_back(s.blocks.slot(i));
  b.offsets.push_back(static_cast<int32_t>(b.tokens.size()));
  b.context_lengths.push_back(static_cast<int32_t>(end));
  for (int64_t row = slice.rows; row > 0; --row)
    b.sample_rows.push_back(static_cast<int32_t>(static_cast<int64_t>(b.tokens.size()) - row));
}

// Every axis has all rows of the step, so positions are written once the number of rows is known.
void add_positions(Batch& b, const std::vector<Slice>& slices) {
  b.positions.reserve(b.tokens.size() * static_cast<size_t>(b.axes));
  for (int axis = 0; axis < b.axes; ++axis)
    for (const Slice& slice : slices)
      for (int64_t i = slice.begin; i < slice.begin + slice.count; ++i)
        b.positions.push_back(slice.sequence->position(axis, i));
}

void add_block_tables(Batch& b, const std::vector<Slice>& slices) {
  for (const int32_t length : b.context_lengths)
    b.blocks_per_row = std::max(b.blocks_per_row, (length + b.block_size - 1) / b.block_size);
  b.block_tables.assign(slices.size() * static_cast<size_t>(b.blocks_per_row), -1);
  auto row = b.block_tables.begin();
  for (const Slice& slice : slices) {
    const auto blocks = slice.sequence->blocks.blocks();
    std::copy_n(
        blocks.begin(), std::min(blocks.size(), static_cast<size_t>(b.blocks_per_row)), row);
    row += b.blocks_per_row;
  }
}

void add_media(StepPlan& plan, const Slice& slice, int64_t first_row) {
  for (const MediaSpan& span : slice.sequence->prompt().media) {
    const int64_t begin = std::max<int64_t>(slice.begin, span.first_token);
    const int64_t end =
        std::min<int64_t>(slice.begin + slice.count, int64_t{span.first_token} + span.count);
    if (begin < end)
      plan.media.push_back({span.media->hash,
                            static_cast<int32_t>(begin - span.first_token),
                            static_cast<int32_t>(first_row + begin - slice.begin),
                            static_cast<int32_t>(end - begin)});
  }
}

}  // namespace

StepPlan build_plan(const Schedule& schedule, int block_size) {
  StepPlan plan;
  plan.encode = schedule.encode;
  plan.release = schedule.release;
  Batch& b = plan.batch;
  b.block_size = block_size;
  b.offsets = {0};
  for (const Slice& slice : schedule.slices) {
    b.axes = std::max(b.axes, slice.sequence->prompt().axes);
    add_media(plan, slice, b.token_count());
    add_sequence(b, slice);
  }
  add_positions(b, schedule.slices);
  add_block_tables(b, schedule.slices);
  return plan;
}

}  // namespace quern
