// SPDX-License-Identifier: Apache-2.0
// GroupExecutor: an Executor over one worker process per rank, of one epoch. An error that every
// rank throws alike fails the step. Whatever else happens to a worker (it ends, falls silent, gets
// no further, fails alone) loses the group: all of it is ended, and `unavailable` names who was
// lost first, where, and how.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "engine/executor.h"
#include "engine/message_port.h"
#include "engine/worker_message.h"

namespace quern {

struct GroupOptions {
  uint64_t epoch = 0;
  int answering_rank = 0;    // whose logits are the result
  int timeout_ms = 300'000;  // a step in which no worker gets any further for so long
  int ping_ms = 500;         // a worker is asked for a sign of life after so much silence …
  int most_pings = 6;        // … and is lost once it has left so many without an answer
  const std::atomic<bool>* should_stop = nullptr;  // breaks off `ask`; may be null
};

class GroupExecutor final : public Executor {
 public:
  // Watches the workers from now on. `workers[r]` is rank r.
  GroupExecutor(std::vector<std::unique_ptr<WorkerHandle>> workers, const GroupOptions& options);
  ~GroupExecutor() override;  // ends all workers

  // Before the first plan: sends questions[r] to rank r and returns all answers. Throws the Error
  // of a worker that refuses, naming it; unavailable if one is lost or says nothing for timeout_ms.
  std::vector<std::string> ask(const std::vector<std::string>& questions, int timeout_ms);

  void submit(StepPlan plan) override;
  bool wait(StepResult& result, int timeout_ms) override;
  bool is_replaceable() const override { return true; }
  void check() override;
  void set_on_loss(std::function<void()> on_loss) override;
  std::vector<WorkerReport> workers() const override;

 private:
  // Reasons for a loss; where there are several, the earlier names the culprit.
  enum class Loss : uint8_t { ended, silent, stuck, complained };
  struct Seat;
  struct Blame {
    int rank;
    Loss how;
    std::string text;
  };

  void listen(int rank);
  void take(int rank, std::string_view bytes);
  void take_result(int rank, StepResult result);
  void take_failure(int rank, WorkerFailure failure);
  void send(int rank, const std::string& message);
  void ping(int rank);
  void look_for_standstill();
  Blame loner() const;
  Blame straggler() const;
  void expect_answers(uint64_t step);
  void note_answer(int rank);
  void lose(int rank, Loss how, std::string text);
  [[noreturn]] void end_group(std::unique_lock<std::mutex>& lock);
  [[noreturn]] void fail_setup(int rank) const;
  void finish_step(StepResult& result);
  std::string names_of_waiting() const;

  const GroupOptions options_;
  MonotonicClock clock_;
  std::vector<std::unique_ptr<Seat>> seats_;
  const int64_t begin_us_;

  mutable std::mutex mutex_;  // all below, and what the seats say
  std::condition_variable changed_;
  std::function<void()> on_loss_;
  std::optional<uint64_t> step_;  // under way; 0: set-up
  int missing_ = 0;               // answers to it
  StepResult result_;
  int64_t moved_us_ = 0;   // when a worker last got further
  int64_t failed_us_ = 0;  // when the first worker failed in this step; 0: none has
  bool is_lost_ = false;
  std::optional<Error> end_;  // once the group was ended
  std::atomic<bool> is_over_ = false;
};

}  // namespace quern
