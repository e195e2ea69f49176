// SPDX-License-Identifier: Apache-2.0
// Request: what the engine is asked; TokenEvent and EventStream: what it answers.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "prompt/prompt.h"
#include "sampling/sampling_params.h"
#include "sampling/token_logprob.h"

namespace quern {

struct Request {
  std::string id;  // unique among running requests
  std::shared_ptr<const Prompt> prompt;
  SamplingParams params;
  int n = 1;                    // continuations; choice i samples with (seed, i, position)
  int priority = 0;             // lower runs first
  int64_t deadline_us = 0;      // of the engine's clock; 0: none
  std::string cache_salt = {};  // prefixes are shared only with requests of the same salt
  bool hash_logits = false;     // fills TokenEvent::logits_hash
  // With params.prompt_logprobs: the first token of the prompt that is scored, 1 or more. What is
  // in front of it may come from the prefix cache.
  int32_t score_from = 1;
};

enum class FinishReason : uint8_t { none, stop, length, cancelled, error };

// An engine that pools (EngineConfig::pooling) answers every request with one event: a vector, and
// the end.
struct TokenEvent {
  int choice = 0;
  int32_t token = -1;  // -1: an event without a token (the end of a cancelled or failed request)
  std::vector<TokenLogprob> logprobs;  // the chosen token first, then the best ones, if asked for
  FinishReason finish = FinishReason::none;
  int32_t stop_token = -1;  // finish == stop: which id ended it (its event carries the token too)
  ErrorCode error_code = ErrorCode::internal;
  std::string error;          // finish == error
  std::string error_reason;   // a closer name than the code's ("numeric_error"); mostly empty
  uint64_t logits_hash = 0;   // hash of the step's raw logits row
  int32_t cached_tokens = 0;  // first event: prompt tokens found in the prefix cache
  // Of the prompt's tokens from Request::score_from on. Comes once, for all choices, before any
  // token.
  std::vector<PromptLogprob> prompt_logprobs;
  std::vector<float> pooled;  // as the rows are: neither normalized nor activated
};

// A bounded queue from the engine thread to one consumer. The engine never blocks on it: a request
// whose consumer is `capacity` events behind pauses until the consumer catches up.
class EventStream {
 public:
  explicit EventStream(size_t capacity = 256) : capacity_(capacity) {}

  // Consumer. pop waits up to timeout_ms; false on time-out or when the stream has ended and is
  // drained.
  bool pop(TokenEvent& event, int timeout_ms);
  bool try_pop(TokenEvent& event);
  bool is_finished() const;  // every choice has ended and the queue is empty
  size_t waiting() const;    // events that pop would give without waiting
  // `notify` is called (from the engine thread, without locks held) after events arrive; for
  // coroutines.
  void set_notify(std::function<void()> notify);

  // Engine. push takes an event beyond the capacity too: an end is never lost.
  bool has_room() const;
  void push(TokenEvent event);
  void close();  // no more events
  // `on_room` is called (from the consumer's thread, without locks held) when a full stream has
  // room again.
  void set_on_room(std::function<void()> on_room);

 private:
  using Callback = std::shared_ptr<const std::function<void()>>;
  bool take(std::unique_lock<std::mutex>& lock, TokenEvent& event);

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<TokenEvent> events_;
  Callback notify_, on_room_;
  size_t capacity_;
  bool is_closed_ = false;
};

}  // namespace quern
