// SPDX-License-Identifier: Apache-2.0
// Source: Qwen2-VL (arXiv 2409.12191), section 2.1; get_rope_index of transformers 4.45 (the
// default rule) and 5.23.
#include "prompt/mrope.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

class Walk {
 public:
  Walk(Prompt& prompt, const MropeRule& rule)
      : prompt_(prompt), rule_(rule), tokens_(prompt.ids.size()) {}

  void text_until(size_t token) {
    for (; at_ < token; ++at_) put(next_, next_, next_), ++next_;
  }

  void medium(const MediaSpan& span) {
    const MediaInput& m = *span.media;
    const int64_t rows = m.grid_h / rule_.merge, columns = m.grid_w / rule_.merge;
    QUERN_CHECK(m.grid_t * rows * columns == span.count);
    for (int64_t t = 0; t < m.grid_t; ++t)
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; ++column, ++at_)
          put(next_ + step(m, t), next_ + row, next_ + column);
    const int64_t side = std::max(rows, columns);
    next_ += rule_.is_time_ignored_after ? side : std::max(side, step(m, m.grid_t - 1) + 1);
  }

  int64_t largest() const { return largest_; }

 private:
  // In float32, as the reference computes it.
  int64_t step(const MediaInput& m, int64_t t) const {
    if (m.kind != MediaKind::video || rule_.tokens_per_second == 0) return t;
    const auto interval = static_cast<float>(rule_.tokens_per_second * m.seconds_per_grid);
    return static_cast<int64_t>(static_cast<float>(t) * interval);
  }

  void put(int64_t time, int64_t row, int64_t column) {
    int32_t* positions = prompt_.positions.data() + at_;
    positions[0] = static_cast<int32_t>(time);
    positions[tokens_] = static_cast<int32_t>(row);
    positions[2 * tokens_] = static_cast<int32_t>(column);
    largest_ = std::max({largest_, time, row, column});
  }

  Prompt& prompt_;
  const MropeRule& rule_;
  const size_t tokens_;
  size_t at_ = 0;
  int64_t next_ = 0, largest_ = -1;
};

}  // namespace

void place_mrope(Prompt& prompt, const MropeRule& rule) {
  prompt.axes = 3;
  prompt.positions.assign(prompt.ids.size() * 3, 0);
  Walk walk(prompt, rule);
  for (const MediaSpan& span : prompt.media) {
    walk.text_until(static_cast<size_t>(span.first_token));
    walk.medium(span);
  }
  walk.text_until(prompt.ids.size());
  prompt.rope_delta =
      static_cast<int32_t>(walk.largest() + 1 - static_cast<int64_t>(prompt.ids.size()));
}

std::optional<int> rotary_axes(const Config& root) {
  const Config text = root.sub_or_self("text_config");
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (const auto rope = text.find(key))
      for (const char* sections : {"mrope_section", "xdrope_section"})
        if (rope->has(sections)) return static_cast<int>(rope->numbers(sections).size());
  return std::nullopt;
}

}  // namespace quern
