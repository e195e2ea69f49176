// SPDX-License-Identifier: Apache-2.0
// EngineLoop: what the engine thread does: take commands, plan, run, sample, answer.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"
#include "engine/inbox.h"
#include "engine/request_book.h"
#include "engine/scheduler.h"
#include "engine/workforce.h"

namespace quern {

class EngineLoop {
 public:
  EngineLoop(const EngineConfig& config,
             Workforce& workforce,
             Inbox& inbox,
             RequestBook& book,
             const Clock& clock);

  void run();   // until stopped; then ends every request that is left
  void stop();  // from any thread
  bool is_stalled() const { return is_stalled_; }  // from any thread

 private:
  using Groups = std::unordered_map<std::string, std::unique_ptr<Group>>;

  void obey(Commands commands);
  void add(Submission submission);
  void expire_deadlines();
  void look_at_consumers();
  int patience_ms(bool did_work) const;

  void guess();
  bool step();
  bool look_around(int64_t began_us);
  void stall(int64_t age_us);
  void end_stall();
  void carry_out(Schedule& schedule);
  void accept(const Schedule& schedule, StepResult& result);
  void take(const Slice& slice, std::span<float> logits, size_t vocab);
  void verify(const Slice& slice, std::span<float> logits, size_t vocab);
  void pool(const Slice& slice, std::span<const float> rows, size_t size);
  void score(const Slice& slice, std::span<const float> logits, size_t vocab);
  void send_scores(Group& group);
  void sample(Sequence& s, std::span<float> logits);
  FinishReason reason_to_finish(const Sequence& s, int32_t token) const;
  void note_start(const Slice& slice);

  void look_at_workers();
  void fail_step(const Schedule& schedule, const Error& error);
  void replace_workers(const Error& loss);
  void fail_running(const Error& loss);
  void end_sequence(Sequence& s, TokenEvent last);
  void end_group(Group& group, const TokenEvent& last);
  void end_all(const TokenEvent& last);
  void publish_stats();

  const EngineConfig& config_;
  Workforce& workforce_;
  Inbox& inbox_;
  RequestBook& book_;
  const Clock& clock_;
  Scheduler scheduler_;
  Groups groups_;
  std::vector<std::unique_ptr<Group>>
      ended_;  // slices of the step at hand may still point into them
  std::atomic<bool> should_stop_ = false, is_stalled_ = false;
  EngineStats counts_;
  bool has_work_ = false;  // some consumer has room for an answer
  uint64_t arrivals_ = 0, steps_ = 0;
};

}  // namespace quern
