// SPDX-License-Identifier: Apache-2.0
#include "tensor/shard.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"

namespace quern {

int64_t total_size(std::span<const Range> ranges) {
  int64_t sum = 0;
  for (const Range r : ranges) sum += r.size();
  return sum;
}

std::vector<Range> ranges_of(std::vector<int32_t> numbers) {
  std::ranges::sort(numbers);
  std::vector<Range> out;
  for (const int32_t k : numbers) {
    if (out.empty() || out.back().end != k) out.push_back({k, k});
    ++out.back().end;
  }
  return out;
}

std::string text_of(std::span<const Range> ranges) {
  constexpr size_t kMostShown = 8;
  std::string out;
  for (const Range r : ranges) out += format("[{},{})", r.begin, r.end);
  return ranges.size() <= kMostShown ? out : hash_bytes(std::as_bytes(std::span(out))).hex();
}

Shard::Shard(int rank, int size, std::vector<double> proportions)
    : rank_(rank), size_(size), proportions_(std::move(proportions)) {
  if (size < 1 || size > 64 || rank < 0 || rank >= size)
    fail(ErrorCode::invalid_argument, "rank {} of {}: expected 0 <= rank < size <= 64", rank, size);
  if (!proportions_.empty() && proportions_.size() != static_cast<size_t>(size))
    fail(ErrorCode::invalid_argument, "{} proportions for {} ranks", proportions_.size(), size);
  for (const double p : proportions_)
    if (!(p > 0) || !std::isfinite(p))
      fail(ErrorCode::invalid_argument, "a rank's proportion is {}: expected more than 0", p);
}

Range Shard::range_of(int rank, int64_t length, int64_t granule) const {
  QUERN_CHECK(length >= 0 && granule >= 1);
  const int64_t granules = (length + granule - 1) / granule;
  // The border before rank r: equal parts differ by one granule, the larger ones first (116 + 115);
  // with proportions the running sum is rounded, so the borders tile whatever the weights are.
  const auto border = [&](int r) -> int64_t {
    if (proportions_.empty()) return granules / size_ * r + std::min<int64_t>(r, granules % size_);
    const double all = std::accumulate(proportions_.begin(), proportions_.end(), 0.0);
    const double before = std::accumulate(proportions_.begin(), proportions_.begin() + r, 0.0);
    return r == size_ ? granules : std::llround(static_cast<double>(granules) * before / all);
  };
  return {std::min(border(rank) * granule, length), std::min(border(rank + 1) * granule, length)};
}

HeadRange Shard::heads(int64_t heads, int64_t kv_heads) const {
  QUERN_CHECK(kv_heads >= 1 && heads % kv_heads == 0);
  const int64_t group = heads / kv_heads;
  if (size_ <= kv_heads) {
    const Range kv = range(kv_heads);
    return {{kv.begin * group, kv.end * group}, kv};
  }
  const Range q = range(heads);
  if (q.is_empty()) return {q, {0, 0}};
  return {q, {q.begin / group, (q.end + group - 1) / group}};
}

}  // namespace quern
