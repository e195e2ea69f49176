// SPDX-License-Identifier: Apache-2.0
// HeadSizes: how many attention heads there are; HeadLayout: which of them this rank holds.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/shard.h"

namespace quern {

struct HeadSizes {
  int64_t heads = 0;      // H, query heads of the whole model
  int64_t kv_heads = 0;   // G; H is a multiple of it
  int64_t head_size = 0;  // E
};

// The heads of one rank. Local query head h reads local KV head h / (heads / kv_heads), as on a
// single rank: where a rank's query heads do not share their KV heads evenly (28 heads over 4 KV
// heads on 8 ranks), KV heads are held more than once.
class HeadLayout {
 public:
  HeadLayout(const Shard& shard, const HeadSizes& sizes);

  int64_t heads() const { return q_.size(); }
  int64_t kv_heads() const { return static_cast<int64_t>(kv_.size()); }
  int64_t head_size() const { return head_size_; }
  Range q_rows() const {
    return {q_.begin * head_size_, q_.end * head_size_};
  }                                    // of q_proj; the columns of o_proj
  std::vector<Range> kv_rows() const;  // of k_proj and v_proj, in local order; neighbours joined

 private:
  Range q_;
  std::vector<int64_t> kv_;  // KV head behind each local KV head
  int64_t head_size_ = 0;
};

}  // namespace quern
