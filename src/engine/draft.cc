// SPDX-License-Identifier: Apache-2.0
#include "engine/draft.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kWindow = 32768;

void check_field(std::string_view field, int value, int low, int high) {
  if (value < low || value > high)
    fail(ErrorCode::invalid_argument,
         "speculative_config.{}: expected {} to {}, got {}",
         field,
         low,
         high,
         value);
}

// How many tokens before `end` equal those at the end of `history`; at most `most`.
int match_length(std::span<const int32_t> history, size_t end, int most) {
  int length = 0;
  while (length < most && static_cast<size_t>(length) < end &&
         history[end - 1 - static_cast<size_t>(length)] ==
             history[history.size() - 1 - static_cast<size_t>(length)])
    ++length;
  return length;
}

}  // namespace

void SpeculationConfig::validate() const {
  check_field("num_speculative_tokens", tokens, 0, kMostTokens);
  check_field("prompt_lookup_max", lookup_max, 1, kMostLookup);
  check_field("prompt_lookup_min", lookup_min, 1, lookup_max);
}

std::vector<int32_t> draft_of(std::span<const int32_t> history,
                              const SpeculationConfig& config,
                              int64_t most) {
  std::vector<int32_t> draft;
  if (most < 1 || history.size() < 2) return draft;
  if (history.size() > kWindow) history = history.last(kWindow);
  int best = config.lookup_min - 1;
  size_t place = 0;
  for (size_t end = history.size() - 1; end > 0 && best < config.lookup_max; --end) {
    const int length = match_length(history, end, config.lookup_max);
    if (length <= best) continue;
    best = length;
    place = end;
  }
  if (place == 0) return draft;
  // Behind the end of the history the draft repeats itself.
  for (size_t i = place; static_cast<int64_t>(draft.size()) < most; ++i)
    draft.push_back(i < history.size() ? history[i] : draft[i - history.size()]);
  return draft;
}

}  // namespace quern
