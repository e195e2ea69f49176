// SPDX-License-Identifier: Apache-2.0
// StepRunner: what one rank does with a StepPlan, whether it is a thread or a process: check it,
// encode new media, forward the batch, forget media that nobody needs any more.
#pragma once

#include <exception>
#include <memory>
#include <unordered_map>

#include "base/clock.h"
#include "base/error.h"
#include "engine/step_plan.h"
#include "nn/model.h"

namespace quern {

// What a rank works with.
struct RankParts {
  std::shared_ptr<const Model> model;
  Ctx ctx;  // its pool, arena and communicators must outlive the runner; used by one thread alone
  std::shared_ptr<KvCache> kv;
};

class StepRunner {
 public:
  // `probe`, if given, sees every forward pass.
  explicit StepRunner(RankParts parts, Probe* probe = nullptr);

  // The logits of the rows that are sampled, on the rank that answers for its group; empty
  // elsewhere. Throws whatever the step throws; where only one rank could not prepare it (a picture
  // that does not fit there), all throw. The runner may be used again unless ranks lost each other.
  StepResult run(StepPlan& plan);

 private:
  bool is_first_stage() const;
  void check(const Batch& batch) const;
  void prepare(StepPlan& plan, StepResult& result);
  void agree(const std::exception_ptr& error);
  void encode(const EncodeTask& task);
  const Tensor& rows_of(const Hash128& hash, int64_t end) const;
  void fill(StepPlan& plan) const;
  void forward(const Batch& batch, StepResult& result);

  RankParts parts_;
  Probe* probe_;
  MonotonicClock clock_;
  std::unordered_map<Hash128, Tensor> encoded_;
};

// What a step threw, as an Error that names the step.
Error step_error(const std::exception_ptr& thrown);

}  // namespace quern
