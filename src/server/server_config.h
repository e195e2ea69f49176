// SPDX-License-Identifier: Apache-2.0
// Where the server listens and what it puts up with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace quern {

// PEM files, as vLLM's flags of the same names. All empty: no TLS.
struct TlsOptions {
  std::string certfile, keyfile;  // no keyfile: the key lies in the certfile
  std::string ca_certs;           // clients must show a certificate that one of these has signed

  // Reads the files. Throws invalid_argument naming the flag whose file is missing or wrong.
  void validate() const;
  bool is_on() const { return !certfile.empty() || !keyfile.empty() || !ca_certs.empty(); }
};

struct ServerConfig {
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: any free one
  int io_threads = 2;
  int preparation_threads = 2;
  size_t max_preparation_queue = 256;

  TlsOptions tls;

  size_t max_header_bytes = size_t{64} << 10;
  uint64_t max_body_bytes = uint64_t{64} << 20;
  // Of all bodies above 1 MiB together: beyond, 503.
  int64_t max_body_bytes_in_flight = int64_t{1} << 30;
  int max_connections = 1024;  // beyond: 503 and closed
  // Of /v1/responses, kept for previous_response_id and GET; the least recently used go first.
  size_t max_stored_responses = 4096;
  size_t max_stored_response_bytes = size_t{256} << 20;

  int64_t header_timeout_us = 20'000'000;  // for the TLS handshake; and from the first byte of a
                                           // request to the end of its head
  int64_t body_timeout_us = 120'000'000;   // for the whole body
  int64_t idle_timeout_us = 60'000'000;    // between requests
  int64_t write_timeout_us = 60'000'000;   // for one piece of an answer
  int64_t drain_timeout_us =
      30'000'000;  // how long running requests may take once the server is told to stop
  int64_t sse_keep_alive_us = 0;          // a comment after so much silence in a stream; 0: none
  int64_t sse_recovering_us = 1'000'000;  // the same while lost workers are being replaced

  bool handles_signals = false;  // SIGINT and SIGTERM stop the server

  void validate() const;  // throws invalid_argument naming the field
};

}  // namespace quern
