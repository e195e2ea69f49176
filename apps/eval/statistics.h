// SPDX-License-Identifier: Apache-2.0
// How well a score is known: intervals that hold the true value in 95 of 100 samples like the one
// that was seen.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quern::eval {

struct Interval {
  double low = 0, high = 0;
};

// Wilson's score interval of a share: sound at 0, at 1 and for few trials. [0, 1] for none.
Interval wilson(int64_t successes, int64_t trials);

// Two yes-or-no answers to each of the same questions: what the first has over the second.
struct PairedCounts {
  int64_t both = 0, first_alone = 0, second_alone = 0, neither = 0;

  void add(bool first, bool second);
  int64_t count() const { return both + first_alone + second_alone + neither; }
};

struct PairedDifference {
  double difference = 0;  // the first's share of successes less the second's
  Interval interval;      // Bonett and Price's (2012): not of no width where the two never differ
  double p_value = 1;     // McNemar's exact test, two-sided: that only chance told them apart
};
// [-1, 1] and 1 for no questions.
PairedDifference paired_difference(const PairedCounts& counts);

// Sums over runs of neighbours of `kTokens` values, which are what is drawn anew: tokens beside
// each other are not independent.
class BlockSums {
 public:
  static constexpr int64_t kTokens = 32;

  void add(double value);
  int64_t count() const { return count_; }
  double sum() const { return sum_; }
  double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  // Of the mean, by 2,000 bootstrap samples of whole blocks; the same for the same seed on every
  // machine. Of no width for fewer than two blocks.
  Interval interval(uint64_t seed) const;

 private:
  struct Block {
    double sum = 0;
    int64_t count = 0;
  };

  std::vector<Block> blocks_;
  double sum_ = 0;
  int64_t count_ = 0;
};

}  // namespace quern::eval
