// SPDX-License-Identifier: Apache-2.0
// Ranks meet over one TCP connection per pair.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "comm/tcp_socket.h"

namespace quern {

// `peers[r]` leads to rank r; peers[rank] is not open. Every wait has timeout_ms.
std::unique_ptr<Communicator> make_tcp_communicator(std::vector<Socket> peers,
                                                    int rank,
                                                    int timeout_ms);

}  // namespace quern
