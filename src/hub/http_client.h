// SPDX-License-Identifier: Apache-2.0
// One HTTP client of a thread: GET and HEAD with ranges, over libcurl. Redirects are followed by
// hand, so that the token goes to the host that it is for and to no other.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace quern {

// May go away by itself: a connection that was cut, 408, 429, 5xx.
class TransientError : public Error {
 public:
  TransientError(std::string message, int64_t retry_after_s)
      : Error(ErrorCode::unavailable, std::move(message)), retry_after_s_(retry_after_s) {}
  int64_t retry_after_s() const { return retry_after_s_; }  // -1: not said

 private:
  int64_t retry_after_s_;
};

struct HttpOptions {
  std::string token;                        // empty: none
  int64_t timeout_s = 30;                   // to connect; without a byte
  const std::atomic<bool>* stop = nullptr;  // set: whatever runs ends soon, as cancelled
};

// What the headers said. Of an answer that was redirected, the first that said it: the hub itself
// speaks before it sends one elsewhere.
struct HttpHead {
  int status = 0;
  std::string etag, linked_etag;  // without W/ and quotes
  std::string commit;             // X-Repo-Commit
  std::string error_code;         // X-Error-Code
  int64_t linked_size = -1;       // X-Linked-Size
  int64_t length = -1;            // Content-Length
  int64_t range_begin = -1;       // Content-Range
  int64_t retry_after_s = -1;
};

struct FetchRequest {
  std::string url;
  bool is_head = false;
  int64_t from = 0;  // asks for the bytes from here on
};

// Receives a good answer (2xx): its head, then its body piece by piece. May throw; the exception
// leaves send().
struct HttpSink {
  std::function<void(const HttpHead&)> on_head;
  std::function<void(std::span<const std::byte>)> on_body;
};

class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  ~HttpClient();
  HttpClient(HttpClient&&) noexcept;

  // The head of the last answer, whatever its status. Throws TransientError where trying again may
  // help, invalid_argument for what cannot be fetched, cancelled.
  HttpHead send(const FetchRequest& request, const HttpSink& sink);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Whether two URLs have scheme, host and port in common.
bool is_same_origin(const std::string& a, const std::string& b);

// Each byte but unreserved ones as %XX; slashes too, unless `keeps_slashes`.
std::string encode_path(std::string_view path, bool keeps_slashes);

}  // namespace quern
