// SPDX-License-Identifier: Apache-2.0
#include "nn/heads.h"

#include <numeric>

namespace quern {

HeadLayout::HeadLayout(const Shard& shard, const HeadSizes& sizes)
    : q_(shard.heads(sizes.heads, sizes.kv_heads).q), head_size_(sizes.head_size) {
  const int64_t group = sizes.heads / sizes.kv_heads;
  // The largest number of neighbouring query heads that always share a KV head: the greatest common
  // divisor of the run lengths.
  int64_t shared = 0;
  for (int64_t h = q_.begin; h < q_.end;) {
    const int64_t end = std::min(q_.end, (h / group + 1) * group);
    shared = std::gcd(shared, end - h);
    h = end;
  }
  for (int64_t h = q_.begin; h < q_.end; h += shared) kv_.push_back(h / group);
}

std::vector<Range> HeadLayout::kv_rows() const {
  std::vector<Range> out;
  for (const int64_t head : kv_) {
    const Range rows{head * head_size_, (head + 1) * head_size_};
    if (!out.empty() && out.back().end == rows.begin)
      out.back().end = rows.end;
    else
      out.push_back(rows);
  }
  return out;
}

}  // namespace quern
