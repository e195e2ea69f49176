// SPDX-License-Identifier: Apache-2.0
// WorkerGroup: starts the worker processes of one model, on this machine and others, epoch after
// epoch.
#pragma once

#include <atomic>
#include <functional>
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
  // What the ranks of a launch have to do: of jobs[r] rank r. Throws exhausted where the model does
  // not fit them.
  using Planner = std::function<std::vector<WorkerJob>(const ParallelOptions&)>;

  // `jobs` are those of `options`; what concerns epochs and transports is filled in. `plan` is
  // asked when a machine is lost for good. With several machines it listens for them from now on.
  // Throws invalid_argument, unavailable.
  WorkerGroup(const ParallelOptions& options, std::vector<WorkerJob> jobs, Planner plan);

  // Starts all workers and returns when each has its part of the model. A machine that was there
  // once and does not return within --replan-after is done without until it is there at a later
  // start. Throws what keeps a worker from it, naming its rank.
  std::unique_ptr<Executor> start(uint64_t epoch);
  // Breaks off a start that is under way, and all later ones. From any thread.
  void stop() { should_stop_ = true; }

 private:
  void await_machines();
  // Deals the ranks out as `layout` says.
  void take_layout(const ParallelOptions& layout, std::vector<WorkerJob> jobs);
  std::vector<std::unique_ptr<WorkerHandle>> spawn(uint64_t epoch);

  const ParallelOptions options_;
  const Planner plan_;
  const std::string secret_;
  ParallelOptions layout_;  // options_, less the machines that are done without
  std::vector<WorkerJob> jobs_;
  std::atomic<bool> should_stop_ = false;
  bool has_started_ = false;
  std::unique_ptr<RankPort> port_;  // null on one machine
};

}  // namespace quern
