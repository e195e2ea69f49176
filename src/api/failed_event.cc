// SPDX-License-Identifier: Apache-2.0
#include "api/failed_event.h"

#include "api/api_error.h"

namespace quern {

void fail_as(const TokenEvent& event) {
  if (event.finish == FinishReason::cancelled)
    throw RequestError(
        ErrorCode::unavailable,
        "",
        event.error.empty() ? "the server is stopping and ended this request" : event.error,
        "cancelled");
  const ErrorCode code =
      event.error_code == ErrorCode::exhausted ? ErrorCode::unavailable : event.error_code;
  throw RequestError(
      code,
      "",
      event.error,
      event.error_reason.empty() ? std::string(name_of(event.error_code)) : event.error_reason);
}

}  // namespace quern
