// SPDX-License-Identifier: Apache-2.0
#include "api/answer_stream.h"

namespace quern {

AnswerStream::AnswerStream(const AnswerFormat& format,
                           const StreamOptions& options,
                           const Generation& generation,
                           bool shows_tokens)
    : format_(format),
      options_(options),
      generation_(generation),
      shows_tokens_(shows_tokens),
      is_open_(static_cast<size_t>(generation.choice_count()), false) {}

std::vector<std::string> AnswerStream::chunks(std::span<const Generation::IndexedDelta> deltas) {
  std::vector<std::string> out;
  for (const auto& [index, delta] : deltas) {
    if (has_failed_) break;
    add(index, delta, out);
  }
  return out;
}

void AnswerStream::add(int index, const TextDelta& delta, std::vector<std::string>& out) {
  if (quern::has_failed(delta)) {
    has_failed_ = true;
    out.push_back(to_json(failure_of(delta)));
    return;
  }
  const Usage usage = generation_.usage_of(index);
  const Usage* shown = options_.continuous_usage_stats ? &usage : nullptr;
  if (!is_open_[static_cast<size_t>(index)]) {
    is_open_[static_cast<size_t>(index)] = true;
    if (std::string opening = format_.opening(index, shown); !opening.empty())
      out.push_back(std::move(opening));
  }
  const bool says_something =
      !delta.text.empty() || delta.finish != FinishReason::none || shows_tokens_ || shown;
  if (says_something) out.push_back(format_.chunk(index, delta, shown));
}

std::string AnswerStream::closing() const {
  return options_.include_usage ? format_.closing(generation_.usage()) : std::string();
}

}  // namespace quern
