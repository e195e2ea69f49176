// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer/post_processor.h"

#include "base/error.h"

namespace quern {

void PostProcessor::apply(std::vector<int32_t>& ids) const {
  for (const TokenTemplate& t : templates_) {
    ids.insert(ids.begin(), t.before.begin(), t.before.end());
    ids.insert(ids.end(), t.after.begin(), t.after.end());
  }
}

void PostProcessor::join(std::vector<int32_t>& ids, const std::vector<int32_t>& second) const {
  const auto append = [&ids](const std::vector<int32_t>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
  };
  if (templates_.empty()) return append(second);
  if (templates_.size() != 1 || !templates_.front().pair)
    fail(ErrorCode::unsupported,
         "this model's tokenizer does not say how two texts are joined; send them as one");
  const PairTemplate& pair = *templates_.front().pair;
  ids.insert(ids.begin(), pair.before.begin(), pair.before.end());
  append(pair.between);
  append(second);
  append(pair.after);
}

}  // namespace quern
