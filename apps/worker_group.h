// SPDX-License-Identifier: Apache-2.0
// WorkerGroup: starts the worker processes of one model, epoch after epoch.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/executor.h"
#include "engine/group_executor.h"
#include "worker_job.h"

namespace quern {

class WorkerGroup {
 public:
  // `jobs[r]` is rank r's; epochs are filled in.
  explicit WorkerGroup(std::vector<WorkerJob> jobs) : jobs_(std::move(jobs)) {}

  // Starts all workers and returns when each has its part of the model. Throws what keeps one from
  // it, naming its rank.
  std::unique_ptr<Executor> start(uint64_t epoch);
  // Breaks off a start that is under way, and all later ones. From any thread.
  void stop() { should_stop_ = true; }

 private:
  std::unique_ptr<GroupExecutor> spawn(uint64_t epoch);

  const std::vector<WorkerJob> jobs_;
  std::atomic<bool> should_stop_ = false;
};

}  // namespace quern
