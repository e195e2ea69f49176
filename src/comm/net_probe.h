// SPDX-License-Identifier: Apache-2.0
// What a connection between two machines can do, measured by its own two ends.
#pragma once

#include "comm/tcp_socket.h"

namespace quern {

struct LinkSpeed {
  double round_trip_s = 0;  // of one byte, the middle of many
  double bytes_per_s = 0;   // towards the other end
};

// The asking end; the other runs answer_probe(). About half a second, or what 1 MiB takes where
// that is longer. Throws unavailable: the other end is gone, or deadline_us of the monotonic clock
// is past.
LinkSpeed measure_link(const Socket& socket, int64_t deadline_us);

// The answering end, until the asking one is done. Throws the same, and data_loss for other words.
void answer_probe(const Socket& socket, int64_t deadline_us);

}  // namespace quern
