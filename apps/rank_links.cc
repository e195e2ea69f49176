// SPDX-License-Identifier: Apache-2.0
#include "rank_links.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "build_id.h"
#include "comm/shm_communicator.h"
#include "comm/tcp_communicator.h"

namespace quern {
namespace {

constexpr int kMeetMs = 10'000;  // for all pairs of a rank
constexpr int kHelloMs = 2'000;
constexpr int kLookMs = 200;

}  // namespace

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

LinkMaker::LinkMaker(const WorkerJob& job, int first_fd)
    : job_(job),
      credentials_{job.secret, build_id()},
      next_fd_(first_fd),
      sockets_(static_cast<size_t>(job.place.world())),
      is_peer_(sockets_.size()) {
  const auto add = [this](bool is_tcp, const std::vector<int>& members) {
    for (const int rank : members)
      if (is_tcp && rank != job_.place.rank) is_peer_[static_cast<size_t>(rank)] = true;
  };
  add(job.has_tcp_ranks, job.place.tensor_group());
  add(job.has_tcp_stages, job.place.stage_group());
  if (std::find(is_peer_.begin(), is_peer_.end(), true) != is_peer_.end())
    listener_.emplace(HostPort{job.listen_host, 0});
}

// Each pair has one connection, made by its higher rank: rank 0 only waits, so nobody waits in a
// circle.
void LinkMaker::connect_to_lower(const std::vector<std::string>& addresses) {
  for (int rank = 0; rank < job_.place.rank; ++rank) {
    const auto r = static_cast<size_t>(rank);
    if (!is_peer_[r]) continue;
    try {
      sockets_[r] = connect_to(HostPort::parse(addresses.at(r), "rank's address"), kMeetMs);
      const std::string hello = format("{} {}", job_.epoch, job_.place.rank);
      introduce(sockets_[r], credentials_, hello, kMeetMs);
    } catch (const Error& e) {
      fail(ErrorCode::unavailable,
           "ranks {} and {} cannot talk to each other: {}",
           rank,
           job_.place.rank,
           e.what());
    }
  }
}

void LinkMaker::accept_higher() {
  const MonotonicClock clock;
  const int64_t deadline_us = deadline_after(kMeetMs);
  const auto missing = [this] {
    size_t rank = static_cast<size_t>(job_.place.rank) + 1;
    while (rank < sockets_.size() && (!is_peer_[rank] || sockets_[rank].is_open())) ++rank;
    return rank;
  };
  while (missing() < sockets_.size()) {
    if (clock.now_us() > deadline_us)
      fail(ErrorCode::unavailable,
           "ranks {} and {} cannot talk to each other: nobody came to {}",
           job_.place.rank,
           missing(),
           address());
    Socket socket = listener_->accept(kLookMs);
    if (!socket.is_open()) continue;
    try {
      const std::string hello = welcome(socket, credentials_, kHelloMs);
      for (size_t rank = missing(); rank < sockets_.size(); ++rank)
        if (hello == format("{} {}", job_.epoch, rank) && is_peer_[rank])
          sockets_[rank] = std::move(socket);
    } catch (const Error& e) {
      log(LogLevel::warn, "refused at the port of rank {}: {}", job_.place.rank, e.what());
    }
  }
}

std::unique_ptr<Communicator> LinkMaker::over_tcp(const std::vector<int>& members) {
  std::vector<Socket> peers;
  int own = 0;
  for (const int rank : members) {
    if (rank == job_.place.rank) own = static_cast<int>(peers.size());
    peers.push_back(std::move(sockets_[static_cast<size_t>(rank)]));
  }
  return make_tcp_communicator(std::move(peers), own, job_.timeout_ms);
}

RankLinks LinkMaker::make(const std::vector<std::string>& addresses) {
  if (listener_) {
    connect_to_lower(addresses);
    accept_higher();
    listener_.reset();
  }
  const RankPlace& p = job_.place;
  const Patience patience = job_.cpus.empty() ? Patience::sleeps : Patience::spins;
  const auto open =
      [&](const std::vector<int>& members, int own, bool is_tcp) -> std::unique_ptr<Communicator> {
    const auto size = static_cast<int>(members.size());
    if (size < 2) return nullptr;
    const int fd = next_fd_++;  // inherited in any case
    auto link = is_tcp ? over_tcp(members)
                       : open_shm_communicator(fd, own, size, job_.timeout_ms, patience);
    close(fd);
    return link;
  };
  RankLinks links;
  links.ranks = open(p.tensor_group(), p.tensor_rank(), job_.has_tcp_ranks);
  links.stages = open(p.stage_group(), p.stage(), job_.has_tcp_stages);
  return links;
}

}  // namespace quern
