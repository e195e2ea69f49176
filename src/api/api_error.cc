// SPDX-License-Identifier: Apache-2.0
#include "api/api_error.h"

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace quern {

int http_status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return 400;
    case ErrorCode::unsupported:
      return 400;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::exhausted:
      return 429;
    case ErrorCode::unavailable:
      return 503;
    case ErrorCode::cancelled:
      return 499;
    case ErrorCode::data_loss:
      return 500;
    case ErrorCode::internal:
      return 500;
  }
  return 500;
}

std::string_view error_type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

ApiError make_api_error(int status, std::string message, std::string code) {
  return {status, std::move(message), std::string(error_type_of(status)), {}, std::move(code)};
}

ApiError api_error_of(const std::exception& error) {
  if (const auto* e = dynamic_cast<const RequestError*>(&error)) {
    const int status = http_status_of(e->code());
    return {status, e->what(), std::string(error_type_of(status)), e->param(), e->reason()};
  }
  if (const auto* e = dynamic_cast<const Error*>(&error))
    return make_api_error(http_status_of(e->code()), e->what(), std::string(name_of(e->code())));
  if (dynamic_cast<const std::bad_alloc*>(&error))
    return make_api_error(503, "no memory left for this request; try again", "exhausted");
  return make_api_error(500, "the server failed on this request; its log says more", "internal");
}

std::string to_json(const ApiError& error) {
  const auto text_or_null = [](const std::string& s) {
    return s.empty() ? Json(nullptr) : Json(s);
  };
  const Json body = {{"error",
                      {{"message", error.message},
                       {"type", error.type},
                       {"param", text_or_null(error.param)},
                       {"code", text_or_null(error.code)}}}};
  // Messages may quote bytes of the request.
  return json_text(body);
}

}  // namespace quern
