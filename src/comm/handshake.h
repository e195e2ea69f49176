// SPDX-License-Identifier: Apache-2.0
// Handshake: who connects to a rank port must know the secret of the launch and be of the same
// build; then says who it is. Neither side shows the secret: both prove it by HMAC-SHA256 over the
// nonces of both. What follows is not encrypted.
//
//   connector                              listener
//   "QRNK" version nonce build    ->
//                                 <-       verdict nonce proof
//   proof length hello            ->
//                                 <-       verdict
#pragma once

#include <string>
#include <string_view>

#include "comm/tcp_socket.h"

namespace quern {

struct Credentials {
  std::string secret;  // any bytes; at least 16
  std::string build;   // of the program, at most 64 bytes
};

// The connector's side. Throws unavailable for a listener that does not answer as one; an
// invalid_argument for a wrong secret or another build, saying which.
void introduce(const Socket& socket,
               const Credentials& own,
               std::string_view hello,
               int timeout_ms);

// The listener's side: the hello. Throws the same; garbage is told apart from a wrong secret and
// another build, and nothing is allocated for it.
std::string welcome(const Socket& socket, const Credentials& own, int timeout_ms);

// 32 random bytes.
std::string make_secret();

}  // namespace quern
