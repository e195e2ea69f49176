// SPDX-License-Identifier: Apache-2.0
// RankPort: where the head waits for the other machines. Nodes come to it when they start, and
// stay; the workers that nodes start at its word come to it for their jobs. Whoever does not know
// the secret, or is of another build, is turned away and logged.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/handshake.h"
#include "comm/tcp_socket.h"
#include "fd_port.h"

namespace quern {

// A worker that came.
struct Arrival {
  std::unique_ptr<FdPort> port;
  std::string place;  // "10.0.0.2, node 1, pid 4711"
};

class RankPort {
 public:
  // Listens on `address`. Nodes are numbered 1 to nnodes - 1; one that has no model gets `model`.
  RankPort(const HostPort& address, Credentials credentials, int nnodes, std::string model);
  ~RankPort();  // tells all nodes that the head ends

  // Which of these nodes are not there now.
  std::vector<int> missing(const std::vector<int>& nodes) const;
  // Until these nodes are there, saying now and then who is missing and the command that starts it.
  // Throws unavailable after timeout_ms without a piece of a copy, cancelled if `should_stop`
  // becomes true.
  void await_nodes(const std::vector<int>& nodes,
                   int timeout_ms,
                   const std::atomic<bool>& should_stop);
  // Has a node start workers for these ranks; it ends those of earlier epochs. Throws unavailable.
  void start_workers(int node, uint64_t epoch, const std::vector<int>& ranks);
  // The worker that was started for `rank`. Throws unavailable, cancelled.
  Arrival await_worker(int node, uint64_t epoch, int rank, const std::atomic<bool>& should_stop);
  // Has a node end a worker, and says how it ended, as far as the node can be asked.
  std::string end_worker(int node, uint64_t epoch, int rank);

 private:
  struct Node;
  struct State;
  void listen();

  std::shared_ptr<State> state_;  // shared with threads that shake hands
  TcpListener listener_;
  std::atomic<bool> is_over_ = false;
  std::thread thread_;
};

}  // namespace quern
