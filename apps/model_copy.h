// SPDX-License-Identifier: Apache-2.0
// A model's files from the head to a machine that has none, in pieces of 16 MiB, each with its
// hash. What a broken copy left is offered by its hashes, and only what differs is sent again.
//
//   machine                                  head
//                                   <-       length, listing (JSON)
//   file, piece, hash of what it has ->
//                                   <-       length (0: the same), hash, bytes
//   kNoFile                          ->
#pragma once

#include <functional>
#include <string>

#include "comm/handshake.h"

namespace quern {

struct CopyProgress {
  int64_t done = 0, all = 0;  // bytes
};

// The head's side of a welcomed connection. Throws unavailable when the other side is gone or
// silent for a minute. `on_piece`, if given, is called for each.
void serve_model_copy(const Socket& socket,
                      const std::string& model,
                      const std::function<void()>& on_piece = {});

// The machine's side, the connection introduced: writes `model`.part, which takes its name when
// every piece is there. Throws unavailable for a connection that broke (the same call goes on),
// data_loss for a listing that is not one, exhausted for a full disk, already running copies as
// unavailable.
void receive_model_copy(const Socket& socket,
                        const std::string& model,
                        const std::function<void(const CopyProgress&)>& progress = {});

}  // namespace quern
