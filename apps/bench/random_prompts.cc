// SPDX-License-Identifier: Apache-2.0
#include "bench/random_prompts.h"

#include "base/error.h"
#include "bench/statistics.h"

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
  return length_near(length, ratio, random_);
}

}  // namespace quern::bench
