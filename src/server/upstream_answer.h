// SPDX-License-Identifier: Apache-2.0
// UpstreamAnswer: an HTTP/1.1 answer of another server of ours, taken apart as its bytes come.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_types.h"

namespace quern {

class UpstreamAnswer {
 public:
  // Takes bytes, in any pieces. Throws unavailable for what is no such answer.
  void feed(std::string_view bytes);

  bool has_head() const { return has_head_; }
  // Status, type and headers, without those that belong to one connection.
  HttpResponse& head() { return head_; }
  bool is_chunked() const { return is_chunked_; }
  // The body's bytes that have come since the last call.
  std::string take_body() { return std::exchange(body_, {}); }
  // All of it has come: a connection that ends before has broken off.
  bool is_done() const { return has_head_ && left_ == 0 && (!is_chunked_ || is_last_); }

 private:
  bool take_head();
  bool take_chunk_line();

  std::string pending_;
  HttpResponse head_;
  std::string body_;
  bool has_head_ = false, is_chunked_ = false, is_last_ = false;
  uint64_t left_ = 0;  // of the body, or of the chunk with its line's end
};

}  // namespace quern
