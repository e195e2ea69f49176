// SPDX-License-Identifier: Apache-2.0
// HTTP requests and responses as plain data.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/api_error.h"
#include "base/error.h"
#include "base/log.h"

namespace quern {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // as sent: "GET"
  std::string path;    // normalised (normalize_path), without the query
  std::string query;   // as sent, without '?'
  Headers headers;     // names in lower case
  std::string body;
  std::string remote;  // "127.0.0.1:51000"
  std::string id;      // the client's X-Request-Id if it sent a clean one, else made up
  std::vector<std::string> parameters;  // what the route's {…} matched
  std::string owner;  // whose the request is, where keys are asked for; not for showing

  // The first header of that (lower-case) name; empty if there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  Headers headers;
  std::string body;
  std::optional<ApiError> error;  // what the body says, where it is one of error_response
};

std::string_view reason_phrase(int status);
HttpResponse json_response(std::string body, int status = 200);
// The OpenAI error body of an exception, with Retry-After where trying again may help.
HttpResponse error_response(const std::exception& error);
HttpResponse error_response(int status, std::string message, std::string code);
// The head of an answer in server-sent events.
HttpResponse event_stream_head();
// The value of `name` in a query ("a=1&b=2"), percent-escapes decoded; empty if it is not there.
std::string query_value(std::string_view query, std::string_view name);

// The path of a request target: percent-escapes decoded, empty and "." segments dropped, ".."
// resolved, no slash at the end
// ("/" stays). Keys and routes are checked on this form alone, so an odd spelling is no way around.
// Null if it is malformed (bad escape, a NUL, above the root). `target` may be in absolute form
// ("http://host/path").
std::optional<std::string> normalize_path(std::string_view target);
// Behind the '?' of a target.
std::string_view query_of(std::string_view target);
// What a client may choose as its request id: 1 to 128 of [A-Za-z0-9._-].
bool is_clean_id(std::string_view id);
std::string to_lower(std::string_view text);
// The access log's line of one request.
void log_request(LogLevel level,
                 const HttpRequest& request,
                 int status,
                 int64_t elapsed_us,
                 const std::string& note);
// For log lines: at most max_bytes, and '?' for every byte that is no visible ASCII character.
std::string printable(std::string_view text, size_t max_bytes);

}  // namespace quern
