// SPDX-License-Identifier: Apache-2.0
#include "engine/admission.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace quern {
namespace {

constexpr int kMaxChoices = 256;
constexpr int64_t kMaxModelLen = int64_t{1} << 28;

void check_field(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    fail(ErrorCode::invalid_argument, "{}: expected {} to {}, got {}", field, low, high, value);
}

void check_prompt(const Prompt& p, int64_t vocab_size) {
  if (p.ids.empty()) fail(ErrorCode::invalid_argument, "prompt: it has no tokens");
  if (p.axes < 1 || p.axes > 8 || p.positions.size() != p.ids.size() * static_cast<size_t>(p.axes))
    fail(ErrorCode::invalid_argument,
         "prompt: {} tokens on {} axes have {} positions",
         p.ids.size(),
         p.axes,
         p.positions.size());
  const int64_t largest = vocab_size > 0 ? vocab_size - 1 : std::numeric_limits<int32_t>::max();
  for (const int32_t id : p.ids)
    if (id < 0 || id > largest)
      fail(ErrorCode::invalid_argument,
           "prompt: token id {}: the vocabulary has 0 to {}",
           id,
           largest);
}

void check_media(const Prompt& p) {
  int64_t end = 0;
  for (const MediaSpan& span : p.media) {
    if (!span.media || span.count < 1 || span.first_token < end ||
        int64_t{span.first_token} + span.count > static_cast<int64_t>(p.ids.size()) ||
        span.media->tokens != span.count)
      fail(ErrorCode::invalid_argument,
           "prompt: a medium of {} tokens stands at {}, {} long, in a prompt of {}",
           span.media ? span.media->tokens : 0,
           span.first_token,
           span.count,
           p.ids.size());
    end = int64_t{span.first_token} + span.count;
  }
}

void check_length(const Request& request, const EngineConfig& config) {
  const auto prompt = static_cast<int64_t>(request.prompt->ids.size());
  const int64_t answer = request.params.max_tokens;
  if (config.pooling && prompt > config.max_model_len)
    fail(ErrorCode::invalid_argument,
         "prompt: {} tokens, the context holds {}; shorten it or raise max_model_len",
         prompt,
         config.max_model_len);
  if (prompt + std::min<int64_t>(answer, 1) > config.max_model_len)
    fail(ErrorCode::invalid_argument,
         "prompt: {} tokens leave no room for an answer: the context holds {}; shorten the prompt "
         "or raise max_model_len",
         prompt,
         config.max_model_len);
  // The last token of an answer is never stored.
  const int64_t stored = std::max(prompt, std::min(prompt + answer, config.max_model_len) - 1);
  const int64_t blocks = (stored + config.block_size - 1) / config.block_size;
  if (blocks > config.num_blocks)
    fail(ErrorCode::exhausted,
         "prompt: {} tokens and up to {} new ones need {} KV blocks of {} tokens, the cache has "
         "{}; lower max_tokens or enlarge the "
         "cache",
         prompt,
         request.params.max_tokens,
         blocks,
         config.block_size,
         config.num_blocks);
}

// A request of an engine that pools has nothing to draw.
void check_pooled(const Request& request) {
  check_field("n", request.n, 1, 1);
  check_field("max_tokens", request.params.max_tokens, 0, 0);
  check_field("prompt_logprobs", request.params.prompt_logprobs, -1, -1);
}

}  // namespace

void EngineConfig::validate() const {
  check_field("max_model_len", max_model_len, 2, kMaxModelLen);
  check_field("max_num_seqs", max_num_seqs, 1, 65536);
  check_field("max_num_batched_tokens", max_num_batched_tokens, 1, 1 << 24);
  check_field("block_size", block_size, 1, 4096);
  check_field("num_blocks", num_blocks, 1, std::numeric_limits<int32_t>::max() / block_size);
  check_field("vocab_size", vocab_size, 0, int64_t{1} << 28);
  check_field("long_prefill_token_threshold", long_prefill_token_threshold, 0, 1 << 24);
  check_field("max_queue", max_queue, 1, 1 << 24);
  check_field("request_timeout_us", request_timeout_us, 0, std::numeric_limits<int64_t>::max());
  check_field("step_timeout_us", step_timeout_us, 0, std::numeric_limits<int64_t>::max());
  speculation.validate();
  if (pooling && speculation.tokens > 0)
    fail(ErrorCode::invalid_argument,
         "speculation: a model that pools generates no tokens to guess; leave it out");
  check_field("encode_budget_tokens", encode_budget_tokens, 1, 1 << 24);
}

int most_draft_rows(const EngineConfig& config) {
  constexpr int kMost = 256;  // rows of logits are wide, and travel from the worker
  return std::min(config.max_num_seqs * config.speculation.tokens, kMost);
}

int EngineConfig::most_rows() const {
  if (pooling == PoolingType::mean) return max_num_batched_tokens;
  if (pooling) return std::min(max_num_seqs, max_num_batched_tokens);
  constexpr int kLeast = 32;  // a prompt that is scored alone gets on by so much a step
  return std::min(std::max(max_num_seqs, kLeast) + most_draft_rows(*this), max_num_batched_tokens);
}

void check_admissible(const Request& request, const EngineConfig& config) {
  if (!request.prompt) fail(ErrorCode::invalid_argument, "prompt: there is none");
  check_field("n", request.n, 1, kMaxChoices);
  if (request.priority != 0 && !config.has_priorities)
    fail(ErrorCode::invalid_argument,
         "priority: got {}, but requests run in the order they come; serve with "
         "--scheduling-policy priority, or leave it out",
         request.priority);
  // What is pooled has nothing to sample.
  if (config.vocab_size > 0 && !config.pooling) request.params.validate(config.vocab_size);
  check_field("max_tokens",
              request.params.max_tokens,
              config.pooling || request.params.prompt_logprobs >= 0 ? 0 : 1,
              std::numeric_limits<int>::max());
  if (config.pooling) check_pooled(request);
  check_prompt(*request.prompt, config.vocab_size);
  const auto length = static_cast<int64_t>(request.prompt->ids.size());
  const bool is_scored = request.params.prompt_logprobs >= 0;
  check_field(
      "score_from", request.score_from, 1, is_scored ? std::max<int64_t>(1, length - 1) : 1);
  check_media(*request.prompt);
  check_length(request, config);
}

}  // namespace quern
