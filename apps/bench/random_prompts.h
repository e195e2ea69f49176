// SPDX-License-Identifier: Apache-2.0
// Prompts of random ordinary tokens: no special ones, so no placeholder or end among them.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "text/tokenizer/tokenizer.h"

namespace quern::bench {

class RandomPrompts {
 public:
  // The same seed gives the same prompts. Throws unsupported for a vocabulary of special tokens
  // alone.
  RandomPrompts(const Tokenizer& tokenizer, uint64_t seed);
  std::vector<int32_t> next(int64_t length);
  // A length between (1 - ratio) and (1 + ratio) times `length`, at least 1.
  int64_t near(int64_t length, double ratio);

 private:
  uint64_t below(uint64_t bound) { return random_() % bound; }

  std::vector<int32_t> ordinary_;
  std::mt19937_64 random_;
};

}  // namespace quern::bench
