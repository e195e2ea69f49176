// SPDX-License-Identifier: Apache-2.0
// A `quern serve` process that lives as long as a bench needs it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace quern::bench {

class OwnServer {
 public:
  // Starts this executable with `arguments` behind "serve" on a free port of the loopback interface
  // and waits until it is ready; what it logs goes to standard error. Throws unavailable if it ends
  // instead.
  explicit OwnServer(const std::vector<std::string>& arguments);
  ~OwnServer();  // ends it and waits for it
  OwnServer(const OwnServer&) = delete;
  OwnServer& operator=(const OwnServer&) = delete;

  const std::string& base_url() const { return base_url_; }
  pid_t pid() const { return pid_; }

 private:
  void read_address(int standard_output);
  int wait_for_end();

  pid_t pid_ = -1;
  std::string base_url_;
};

}  // namespace quern::bench
