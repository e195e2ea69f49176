// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace quern {

struct TokenLogprob {
  int32_t token = -1;
  float logprob =
      0;  // natural logarithm, of the model's own distribution before any sampling parameter
};

}  // namespace quern
