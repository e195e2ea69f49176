// SPDX-License-Identifier: Apache-2.0
// Inbox: the one way into the engine thread. What callers post waits here until the engine takes it
// between two steps.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"

namespace quern {

// A request that has been checked, and the stream its caller reads.
struct Submission {
  Request request;
  std::shared_ptr<EventStream> stream;
};

struct Commands {
  std::vector<Submission> submissions;
  std::vector<std::string> cancels;
  bool stop = false;
};

class Inbox {
 public:
  void submit(Submission submission);
  void cancel(std::string id);
  void stop();
  void ring();  // something outside changed: the engine looks again

  // Everything posted since the last call. Waits for the next post or ring: for ever (-1), up to
  // timeout_ms, or not (0).
  Commands take(int timeout_ms);

 private:
  std::mutex mutex_;
  std::condition_variable rung_;
  bool is_rung_ = false;
  Commands posted_;
};

}  // namespace quern
