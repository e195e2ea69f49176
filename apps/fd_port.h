// SPDX-License-Identifier: Apache-2.0
// FdPort: a MessagePort over a connected stream socket: four bytes of length, then the message.
#pragma once

#include <string>
#include <string_view>

#include "engine/message_port.h"

namespace quern {

class FdPort final : public MessagePort {
 public:
  explicit FdPort(int fd) : fd_(fd) {}  // takes it over
  ~FdPort() override;
  FdPort(const FdPort&) = delete;
  FdPort& operator=(const FdPort&) = delete;

  // Nothing is sent or received any more, on either side. From any thread.
  void shut();
  // Waits as long as the other side lives and takes nothing.
  void send(std::string_view message) override;
  // data_loss for a message of more than 1 GiB. Memory grows with what has come, not with what was
  // announced.
  bool receive(std::string& message, int timeout_ms) override;

 private:
  void send_all(const char* data, size_t size);

  const int fd_;
  std::string partial_;  // of the message that is coming
};

}  // namespace quern
