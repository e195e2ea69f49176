// SPDX-License-Identifier: Apache-2.0
// Engine: the loop, and the only door: submit, cancel, stats.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/draft.h"
#include "engine/executor.h"
#include "engine/request.h"
#include "nn/pooling.h"
#include "sampling/logit_processor.h"

namespace quern {

// What decides how long a step takes.
struct StepShape {
  int64_t sequences = 0;       // that get a token
  int64_t prefill_tokens = 0;  // the other tokens
  // Pairs of a token and one that it attends to: of slices of one token, which read the cache for
  // it, and of longer ones, which share what they read.
  int64_t attended = 0, prefill_attended = 0;
};

struct EngineConfig {
  int64_t max_model_len = 4096;          // prompt + output tokens of one sequence
  int max_num_seqs = 64;                 // sequences in one step
  int max_num_batched_tokens = 2048;     // tokens in one step
  int long_prefill_token_threshold = 0;  // most prefill tokens of one sequence in a step; 0: any
  int block_size = 16;                   // tokens per KV block
  int64_t num_blocks = 0;                // KV blocks in all
  int64_t vocab_size =
      0;  // of the model: submit checks token ids against it; 0: only the first step does
  bool enable_prefix_caching = true;
  int max_queue = 1024;         // waiting requests; beyond: exhausted
  bool has_priorities = false;  // requests may have a priority
  // How rows become the answer of a model that pools: requests then generate nothing.
  std::optional<PoolingType> pooling = {};
  SpeculationConfig speculation;
  int64_t request_timeout_us =
      0;  // from submit to the end, where a request has no deadline; 0: any
  // A step that has not returned for so long: its workers are replaced where that is possible, else
  // all requests fail, and none is taken until it returns. 0: it may take any time.
  int64_t step_timeout_us = 0;
  int encode_budget_tokens = 4096;  // media tokens encoded per step
  LogitHook logit_hook;             // of the model; may be empty
  // After a loss of workers: running requests go on with the tokens they have. False: they fail.
  bool resumes_after_loss = true;
  // Called by the engine's thread after each step, with the time from its plan to its last answer;
  // may be empty.
  std::function<void(const StepShape&, int64_t took_us)> on_step;
  // Called once, by the engine's thread, when workers were lost so often that none are started any
  // more; may be empty.
  std::function<void()> on_workers_gone;

  void validate() const;  // throws invalid_argument naming the field
  // Most rows of one step: of each sequence its last token and a draft, or a piece of a prompt that
  // is scored; any where all rows of prompts are pooled.
  int most_rows() const;
};

struct SpeculationStats {
  int64_t drafts = 0, draft_tokens = 0, accepted_tokens = 0;
  int64_t accepted_per_position[SpeculationConfig::kMostTokens] = {};
};

struct EngineStats {
  int running = 0, waiting = 0,
      swapped = 0;  // sequences; swapped: waiting again after a preemption or a loss of workers
  int64_t blocks_total = 0, blocks_used = 0;  // used: referenced by a live sequence
  int64_t prompt_tokens = 0, generated_tokens = 0, cached_tokens = 0, preemptions = 0, steps = 0;
  int64_t encode_us = 0;              // spent in towers
  int64_t requests_finished[5] = {};  // by FinishReason
  int64_t numeric_errors = 0;         // requests that failed because logits were no numbers
  SpeculationStats speculation;
  bool is_stalled = false;            // the step at work has taken longer than step_timeout_us
  int64_t stalls = 0;                 // how often that happened
  int64_t last_step_age_us = 0;       // since the last completed step, 0 when idle
  uint64_t epoch = 0;                 // rises when workers are replaced
  int64_t losses = 0;                 // of workers, failed replacements included
  int64_t recovery_us = 0;            // from losses until new workers were ready, in all
  bool is_recovering = false;         // new workers are being started
  std::string last_loss;              // why; empty: there was none
  std::vector<WorkerReport> workers;  // processes, by rank
};

class Engine {
 public:
  // `make_executor` is called at start, and again when an executor is lost: running sequences are
  // resumed on the new one.
  using ExecutorFactory = std::function<std::unique_ptr<Executor>(uint64_t epoch)>;
  Engine(EngineConfig config, ExecutorFactory make_executor, const Clock& clock);
  ~Engine();

  // Checks that the request can finish alone (else invalid_argument or exhausted, with the numbers)
  // and queues it; throws exhausted when the queue is full.
  std::shared_ptr<EventStream> submit(Request request);
  void cancel(const std::string& id);  // unknown ids are ignored
  EngineStats stats() const;
  const EngineConfig& config() const;
  // False once workers were lost too often: nothing will be answered any more.
  bool is_healthy() const;
  // While lost workers are being replaced: requests wait.
  bool is_recovering() const;
  // A step has not returned in time: nothing is taken until it does.
  bool is_stalled() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
