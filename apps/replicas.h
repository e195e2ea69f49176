// SPDX-License-Identifier: Apache-2.0
// `quern serve --data-parallel-size K`: K servers of one model as children of this process, which
// only hands requests on (server/replica_proxy.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "child_process.h"
#include "model_options.h"
#include "server/replica_router.h"
#include "server/server_config.h"

namespace quern {

// Which of several replicas this process is; nullopt: it is none. A replica ends with its parent.
struct ReplicaPlace {
  int number = 0, count = 1, parent = 0;
};
std::optional<ReplicaPlace> replica_place();
// Of a replica: it listens on loopback alone, and takes its part of this machine's cores and
// memory.
void settle_replica(const ReplicaPlace& place, ModelOptions& model, ServerConfig& server);
// Tells the parent that this replica serves, on which port.
void report_replica(const std::string& ready_line);

class ReplicaSet {
 public:
  // Children get `arguments`, the command line of this process. `router` must outlive it.
  ReplicaSet(ReplicaRouter& router, std::vector<std::string> arguments);
  ~ReplicaSet();  // ends all at once

  // Returns when all serve: 0; or the exit code of one that will never do.
  int start();
  // One after the other: no new requests, until those it has are answered; ended; started anew.
  // Ends early, saying so, where one does not come back. From any thread.
  void renew();
  // In good order. From any thread.
  void stop();

 private:
  struct Replica {
    std::shared_ptr<ChildProcess> child;
    bool is_renewed = false;  // its end is wanted
    int refusal = 0;          // the exit code it gave up with
    std::thread keeper;
  };
  void keep(int number);
  std::shared_ptr<ChildProcess> spawn(int number, int& pipe);
  bool is_up_or_lost(int number);

  ReplicaRouter& router_;
  const std::vector<std::string> arguments_;
  std::atomic<bool> is_stopping_ = false;
  std::mutex renewing_;  // one renewal at a time
  std::mutex mutex_;     // replicas_, but for the keepers
  std::condition_variable changed_;
  std::vector<Replica> replicas_;
};

}  // namespace quern
