// SPDX-License-Identifier: Apache-2.0
// WorkerGroup: starts the worker processes of one model, on this machine and others, epoch after
// epoch.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "cluster.h"
#include "engine/executor.h"
#include "engine/group_executor.h"
#include "rank_port.h"
#include "worker_job.h"

namespace quern {

class WorkerGroup {
 public:
  // `jobs[r]` is rank r's; what concerns epochs and transports is filled in. With several nodes it
  // listens for them from now on. Throws invalid_argument, unavailable.
  WorkerGroup(const ParallelOptions& options, std::vector<WorkerJob> jobs);

  // Starts all workers and returns when each has its part of the model. Throws what keeps one from
  // it, naming its rank.
  std::unique_ptr<Executor> start(uint64_t epoch);
  // Breaks off a start that is under way, and all later ones. From any thread.
  void stop() { should_stop_ = true; }

 private:
  std::vector<std::unique_ptr<WorkerHandle>> spawn(uint64_t epoch);

  const ParallelOptions options_;
  const std::string secret_;
  std::vector<WorkerJob> jobs_;
  std::atomic<bool> should_stop_ = false;
  bool has_started_ = false;
  std::unique_ptr<RankPort> port_;  // null on one machine
};

}  // namespace quern
