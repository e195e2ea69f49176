// SPDX-License-Identifier: Apache-2.0
// RequestBook: which requests there are and what became of them; the counts that any thread may
// read.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "engine/engine.h"

namespace quern {

class RequestBook {
 public:
  // Takes a place in the queue. Throws exhausted when it is full, invalid_argument when the id is
  // in use.
  void enter(const std::string& id, int max_queue);
  void started(const std::string& id);  // it has left the queue
  void left(const std::string& id, FinishReason reason);

  // The engine's counts after a change; `has_work`: a step is due or under way.
  void publish(const EngineStats& stats, bool has_work, int64_t now_us);
  EngineStats snapshot(int64_t now_us) const;

 private:
  void leave_queue(bool& is_queued);

  mutable std::mutex mutex_;
  std::unordered_map<std::string, bool> is_queued_;  // by id
  int queued_ = 0;
  EngineStats stats_;
  bool has_work_ = false;
  int64_t last_progress_us_ = 0;
};

}  // namespace quern
