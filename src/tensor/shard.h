// SPDX-License-Identifier: Apache-2.0
// Shard: the arithmetic of splitting an axis over ranks in whole granules. Ranges may be unequal or
// empty; they tile the axis.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quern {

struct Range {
  int64_t begin = 0, end = 0;  // half-open
  int64_t size() const { return end - begin; }
  bool is_empty() const { return end <= begin; }
  bool operator==(const Range&) const = default;
};

int64_t total_size(std::span<const Range> ranges);
// Numbers in any order, each once, as ascending ranges that do not touch.
std::vector<Range> ranges_of(std::vector<int32_t> numbers);
// "[0,64)[128,192)"; of many ranges their hash.
std::string text_of(std::span<const Range> ranges);

// The attention heads of one rank: its query heads and the KV heads that they read. `kv` may
// overlap another rank's only where ranks outnumber KV heads.
struct HeadRange {
  Range q, kv;
};

// One rank's place among `size` ranks.
class Shard {
 public:
  Shard() = default;  // the only rank
  // `proportions` (one positive weight per rank; empty: equal) ask for unequal parts. Throws
  // invalid_argument.
  Shard(int rank, int size, std::vector<double> proportions = {});

  int rank() const { return rank_; }
  int size() const { return size_; }

  // This rank's part of an axis of `length` elements, cut at multiples of `granule` (the last
  // granule may be short).
  Range range(int64_t length, int64_t granule = 1) const {
    return range_of(rank_, length, granule);
  }
  Range range_of(int rank, int64_t length, int64_t granule = 1) const;
  // Whole KV heads with their query heads while there are enough of them; beyond, query heads with
  // a copy of the KV heads they need. `heads` must be a multiple of `kv_heads`.
  HeadRange heads(int64_t heads, int64_t kv_heads) const;

 private:
  int rank_ = 0;
  int size_ = 1;
  std::vector<double> proportions_;
};

}  // namespace quern
