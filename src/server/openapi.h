// SPDX-License-Identifier: Apache-2.0
// The text of /openapi.json: every route and field in one table (openapi.cc,
// openapi_schemas.cc, openapi_dialects.cc), which tests hold against the router and against the
// fields that request readers ask for.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern {

struct RouteDescription {
  const char* method;
  const char* pattern;  // as in the router
  const char* summary;
  const char* request;   // the schema of its body; null: no body
  const char* response;  // the schema of its answer; null: text
  // What server-sent events an answer is if the request says "stream"; null: it says so in vain.
  const char* events = nullptr;
  const char* failure = "Error";  // the schema of what goes wrong
  bool takes_form = false;        // the body is multipart/form-data; the answer may be text
};

std::span<const RouteDescription> route_descriptions();
// Null if there is none.
const RouteDescription* description_of(std::string_view method, std::string_view pattern);
// By name: what the routes' bodies and answers look like.
Json openapi_schemas();

// `version`: of the program.
std::string openapi_document(const std::string& version);

}  // namespace quern
