// SPDX-License-Identifier: Apache-2.0
#include "bench/random_prompts.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quern::bench {

RandomPrompts::RandomPrompts(const Tokenizer& tokenizer, uint64_t seed) : random_(seed) {
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (!tokenizer.is_special(id) && !tokenizer.token_bytes(id).empty()) ordinary_.push_back(id);
  if (ordinary_.empty())
    fail(ErrorCode::unsupported, "this tokenizer has no ordinary token to make prompts of");
}

std::vector<int32_t> RandomPrompts::next(int64_t length) {
  std::vector<int32_t> out(static_cast<size_t>(length));
  for (int32_t& id : out) id = ordinary_[below(ordinary_.size())];
  return out;
}

int64_t RandomPrompts::near(int64_t length, double ratio) {
  const auto spread = static_cast<int64_t>(std::floor(ratio * static_cast<double>(length)));
  const auto range = static_cast<uint64_t>(2 * spread + 1);
  return std::max<int64_t>(1, length - spread + static_cast<int64_t>(below(range)));
}

}  // namespace quern::bench
