// SPDX-License-Identifier: Apache-2.0
#include "api/answer_constraint.h"

#include "sampling/grammar/behind_thoughts.h"

namespace quern {

std::shared_ptr<const Grammar> grammar_behind(std::shared_ptr<const Grammar> grammar,
                                              const Service& service,
                                              const Prompt& prompt) {
  const std::optional<ReasoningFamily>& family = service.dialects().reasoning;
  if (!grammar || !family || !family->thinks_before_constraint) return grammar;
  const Tokenizer& tokenizer = service.tokenizer();
  const auto begin = tokenizer.token_to_id(family->begin), end = tokenizer.token_to_id(family->end);
  // The last token says it too where the prompt came as ids.
  const int32_t last = prompt.ids.empty() ? -1 : prompt.ids.back();
  const PromptThinking state = thinking_at_end(prompt.text, *family);
  if (!begin || !end || state == PromptThinking::closed || last == *end) return grammar;
  const bool is_open = state == PromptThinking::open || last == *begin;
  return behind_thoughts(
      std::move(grammar), {*begin, *end, is_open}, service.defaults().eos_token_ids);
}

}  // namespace quern
