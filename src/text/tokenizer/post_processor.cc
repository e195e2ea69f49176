// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/post_processor.h"

namespace quern {

void PostProcessor::apply(std::vector<int32_t>& ids) const {
  for (const TokenTemplate& t : templates_) {
    ids.insert(ids.begin(), t.before.begin(), t.before.end());
    ids.insert(ids.end(), t.after.begin(), t.after.end());
  }
}

}  // namespace quern
