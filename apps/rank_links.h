// SPDX-License-Identifier: Apache-2.0
// How ranks reach each other: through shared memory that the front makes and they inherit, or over
// TCP. A rank belongs to two groups: the ranks that share its layers, and those that hold the same
// part of other stages.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "worker_job.h"

namespace quern {

// The front's side: memory without a name, which ends with the last process that has it.
class SharedRegions {
 public:
  // Throws exhausted or unavailable.
  explicit SharedRegions(const RankPlace& world);
  ~SharedRegions();
  SharedRegions(const SharedRegions&) = delete;
  SharedRegions& operator=(const SharedRegions&) = delete;

  // What rank `place` is to inherit: its groups of more than one rank, in order.
  std::vector<int> fds_of(const RankPlace& place) const;
  int64_t bytes() const { return bytes_; }

 private:
  std::vector<int> ranks_, stages_;  // by stage; by tensor rank
  int64_t bytes_ = 0;
};

struct RankLinks {
  std::unique_ptr<Communicator> ranks, stages;  // null: the rank is alone there
};

// The worker's side: `first_fd` and those behind it are what it inherited.
RankLinks open_shared_links(const WorkerJob& job, int first_fd);

}  // namespace quern
