// SPDX-License-Identifier: Apache-2.0
#include "rank_links.h"

#include <unistd.h>

#include "comm/shm_communicator.h"

namespace quern {

SharedRegions::SharedRegions(const RankPlace& world) {
  const auto make = [this](std::vector<int>& fds, int groups, int size) {
    if (size < 2) return;
    for (int group = 0; group < groups; ++group) {
      fds.push_back(make_shm_region(size));
      bytes_ += shm_region_bytes(size);
    }
  };
  make(ranks_, world.stages, world.tensor_size);
  make(stages_, world.tensor_size, world.stages);
}

SharedRegions::~SharedRegions() {
  for (const std::vector<int>& fds : {ranks_, stages_})
    for (const int fd : fds) close(fd);
}

std::vector<int> SharedRegions::fds_of(const RankPlace& place) const {
  std::vector<int> out;
  if (!ranks_.empty()) out.push_back(ranks_[static_cast<size_t>(place.stage())]);
  if (!stages_.empty()) out.push_back(stages_[static_cast<size_t>(place.tensor_rank())]);
  return out;
}

RankLinks open_shared_links(const WorkerJob& job, int first_fd) {
  RankLinks links;
  const RankPlace& p = job.place;
  const auto open = [&](int rank, int size) -> std::unique_ptr<Communicator> {
    if (size < 2) return nullptr;
    auto link = open_shm_communicator(first_fd, rank, size, job.timeout_ms);
    close(first_fd++);
    return link;
  };
  links.ranks = open(p.tensor_rank(), p.tensor_size);
  links.stages = open(p.stage(), p.stages);
  return links;
}

}  // namespace quern
