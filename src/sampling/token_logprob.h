// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace quern {

struct TokenLogprob {
  int32_t token = -1;
  float logprob =
      0;  // natural logarithm, of the model's own distribution before any sampling parameter
  bool operator==(const TokenLogprob&) const = default;
};

// A token of a prompt under the model's distribution at its place.
struct PromptLogprob {
  std::vector<TokenLogprob> logprobs;  // the token itself first, then the likeliest ones
  int32_t rank = 0;  // of the token itself: 1 is the likeliest; equals count before it
  bool operator==(const PromptLogprob&) const = default;
};

}  // namespace quern
