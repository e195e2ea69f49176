// SPDX-License-Identifier: Apache-2.0
#include "engine/sequence.h"

#include <algorithm>

namespace quern {

Sequence::Sequence(Group& group, int choice, BlockPool& pool, int block_size, const LogitHook& hook)
    : group(group),
      choice(choice),
      tokens(group.request.prompt->ids),
      blocks(pool, block_size),
      sampler(group.request.params, choice, hook),
      block_size_(block_size) {
  // Rows in front of those that are asked for count as seen.
  if (group.request.params.prompt_logprobs >= 0) scored = group.request.score_from - 1;
}

const Prompt& Sequence::prompt() const {
  return *group.request.prompt;
}

int64_t Sequence::output_length() const {
  return length() - static_cast<int64_t>(prompt().ids.size());
}

int64_t Sequence::rows_to_score() const {
  if (group.pooling) return rows_pooled(*group.pooling, static_cast<int64_t>(prompt().ids.size()));
  return choice == 0 && group.request.params.prompt_logprobs >= 0
             ? static_cast<int64_t>(prompt().ids.size()) - 1
             : 0;
}

int32_t Sequence::position(int axis, int64_t index) const {
  const Prompt& p = prompt();
  const auto count = static_cast<int64_t>(p.ids.size());
  if (index >= count) return static_cast<int32_t>(index) + p.rope_delta;
  return p.positions[static_cast<size_t>((axis < p.axes ? axis : 0) * count + index)];
}

const Hash128& Sequence::block_key(size_t index) {
  std::vector<int32_t> positions;
  std::vector<BlockMedia> media;
  while (keys_.size() <= index) {
    const BlockContent own = content(keys_.size(), positions, media);
    keys_.push_back(quern::block_key(keys_.empty() ? group.root : keys_.back(), own));
  }
  return keys_[index];
}

BlockContent Sequence::content(size_t index,
                               std::vector<int32_t>& positions,
                               std::vector<BlockMedia>& media) const {
  const int64_t begin = static_cast<int64_t>(index) * block_size_, end = begin + block_size_;
  positions.clear();
  for (int axis = 0; axis < prompt().axes; ++axis)
    for (int64_t i = begin; i < end; ++i) positions.push_back(position(axis, i));
  media.clear();
  for (const MediaSpan& span : prompt().media) {
    const int64_t first = std::max<int64_t>(begin, span.first_token);
    const int64_t last = std::min<int64_t>(end, int64_t{span.first_token} + span.count);
    if (first < last)
      media.push_back({span.media->hash,
                       static_cast<int32_t>(first - span.first_token),
                       static_cast<int32_t>(first - begin),
                       static_cast<int32_t>(last - first)});
  }
  return {std::span(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(block_size_)),
          positions,
          media};
}

}  // namespace quern
