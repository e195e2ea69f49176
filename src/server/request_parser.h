// SPDX-License-Identifier: Apache-2.0
// RequestParser: bytes → one HTTP/1.x request, in two stages, so that the head can be judged before
// the body is taken.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/http_types.h"

namespace quern {

class RequestParser {
 public:
  RequestParser(size_t max_header_bytes, uint64_t max_body_bytes);
  ~RequestParser();
  RequestParser(RequestParser&&) noexcept;

  // Takes what it can use from the front of `data`, and returns how much that was. It stops behind
  // the head, and behind the body: what follows belongs to the next request.
  size_t feed(std::string_view data);
  bool is_head_done() const;
  bool is_done() const;

  // What is wrong with the bytes, ready to be sent; null while all is well.
  const HttpResponse* error() const;

  // Once the head is there.
  HttpRequest take_head();  // without path, query, id and remote; `target` below
  std::string target() const;
  bool keeps_alive() const;
  bool is_http_1_1() const;
  bool expects_continue() const;
  std::optional<uint64_t> content_length() const;  // null: none given
  bool is_chunked() const;
  // Once the body is there.
  std::string take_body();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
