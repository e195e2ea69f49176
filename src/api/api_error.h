// SPDX-License-Identifier: Apache-2.0
// Errors as the OpenAI API says them: {"error": {"message", "type", "param", "code"}} and an HTTP
// status.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "base/error.h"

namespace quern {

// A request that is wrong in one named field.
class RequestError : public Error {
 public:
  // `param` is the field ("messages[2].content"), empty if it is the request as a whole; `reason`
  // is the machine-readable `code` of the body ("context_length_exceeded"), empty for null.
  RequestError(ErrorCode code, std::string param, std::string message, std::string reason = {})
      : Error(code, std::move(message)), param_(std::move(param)), reason_(std::move(reason)) {}

  const std::string& param() const { return param_; }
  const std::string& reason() const { return reason_; }

 private:
  std::string param_, reason_;
};

// Throws RequestError{invalid_argument, param, format(fmt, args...)}.
template <typename... Args>
[[noreturn]] void fail_field(std::string_view param,
                             fmt::format_string<Args...> fmt,
                             Args&&... args) {
  throw RequestError(ErrorCode::invalid_argument,
                     std::string(param),
                     fmt::format(fmt, std::forward<Args>(args)...));
}

struct ApiError {
  int status = 500;
  std::string message, type, param, code;  // empty param and code become null
};

// 400, 404, 429, 499 (the client left), 500, 503.
int http_status_of(ErrorCode code);
// "invalid_request_error", "not_found_error", "rate_limit_error", "authentication_error",
// "server_error" …
std::string_view error_type_of(int status);

// Any exception as an API error. What is not an Error is reported as internal, without its text.
ApiError api_error_of(const std::exception& error);
ApiError make_api_error(int status, std::string message, std::string code = {});
std::string to_json(const ApiError& error);

}  // namespace quern
