// SPDX-License-Identifier: Apache-2.0
// How ranks reach each other: through shared memory that the front makes and they inherit, or over
// TCP. A rank belongs to two groups: the ranks that share its layers, and those that hold the same
// part of other stages.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/handshake.h"
#include "comm/tcp_socket.h"
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

// The worker's side.
class LinkMaker {
 public:
  // Listens, if some of the rank's groups meet over TCP. `first_fd` and those behind it are what it
  // inherited, for the groups that share memory.
  LinkMaker(const WorkerJob& job, int first_fd);

  // Where others find this rank; empty if nobody needs to.
  std::string address() const { return listener_ ? listener_->address().text() : ""; }
  // `addresses[r]` is world rank r's. Throws unavailable naming the two ranks that cannot talk.
  RankLinks make(const std::vector<std::string>& addresses);

 private:
  std::unique_ptr<Communicator> over_tcp(const std::vector<int>& members);
  void connect_to_lower(const std::vector<std::string>& addresses);
  void accept_higher();

  const WorkerJob job_;
  const Credentials credentials_;
  int next_fd_;
  std::optional<TcpListener> listener_;
  std::vector<Socket> sockets_;  // by world rank
  std::vector<bool> is_peer_;    // over TCP
};

}  // namespace quern
