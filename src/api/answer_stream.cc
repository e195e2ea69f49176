// SPDX-License-Identifier: Apache-2.0
#include "api/answer_stream.h"

namespace quern {

AnswerStream::AnswerStream(AnswerFormat& format,
                           const StreamOptions& options,
                           const Generation& generation,
                           bool shows_tokens)
    : format_(format),
      options_(options),
      generation_(generation),
      shows_tokens_(shows_tokens),
      is_open_(static_cast<size_t>(generation.choice_count()), false) {}

ServerEvents AnswerStream::events(std::span<const Generation::IndexedDelta> deltas) {
  ServerEvents out;
  if (!has_begun_) format_.beginning(generation_.usage(), out);
  has_begun_ = true;
  for (const auto& [index, delta] : deltas) {
    if (has_failed_) break;
    add(index, delta, out);
  }
  return out;
}

void AnswerStream::add(int index, const TextDelta& delta, ServerEvents& out) {
  if (quern::has_failed(delta)) {
    has_failed_ = true;
    format_.failure(failure_of(delta), out);
    return;
  }
  const Usage usage = generation_.usage_of(index);
  const Usage* shown = options_.continuous_usage_stats ? &usage : nullptr;
  if (!is_open_[static_cast<size_t>(index)]) {
    is_open_[static_cast<size_t>(index)] = true;
    format_.opening(index, shown, out);
  }
  const bool says_something = !delta.text.empty() || !delta.reasoning.empty() ||
                              !delta.tool_calls.empty() || delta.finish != FinishReason::none ||
                              shows_tokens_ || shown;
  if (says_something) format_.chunk(index, delta, shown, out);
}

ServerEvents AnswerStream::closing() {
  ServerEvents out;
  format_.closing(generation_.usage(), options_.include_usage, out);
  return out;
}

}  // namespace quern
