// SPDX-License-Identifier: Apache-2.0
// MessagePort: one end of the talk between front and worker: whole messages, in order, both ways.
// WorkerHandle: the front's end, together with the process behind it.
#pragma once

#include <string>
#include <string_view>

namespace quern {

class MessagePort {
 public:
  virtual ~MessagePort() = default;
  // One thread may send while another receives. Both throw unavailable when the other side is gone.
  virtual void send(std::string_view message) = 0;
  // False if nothing came for timeout_ms.
  virtual bool receive(std::string& message, int timeout_ms) = 0;
};

class WorkerHandle : public MessagePort {
 public:
  // "127.0.0.1 pid 4711": where the worker is, for people.
  virtual std::string place() const = 0;
  // Ends the worker at once, if it has not ended by itself, and says how it ended ("killed by
  // signal 9") and what it said last. From any thread.
  virtual std::string end() = 0;
};

}  // namespace quern
