// SPDX-License-Identifier: Apache-2.0
// Router: which route answers a method and a path.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_keys.h"
#include "server/exchange.h"

namespace quern {

using Route = std::function<Task<>(Exchange&)>;

struct RouteOptions {
  bool needs_key = true;
  bool takes_json = false;                               // a body of type application/json
  std::string (*error_body)(const ApiError&) = to_json;  // how this route's dialect says errors
  Scope scope = Scope::infer;                            // what the key must open
};

class Router {
 public:
  struct Entry {
    std::string method;
    std::vector<std::string>
        segments;  // "{…}" matches any one segment; "{…}*" as the last one matches the rest
    std::string pattern;
    RouteOptions options;
    Route route;
  };
  struct Match {
    const Entry* entry = nullptr;  // null: 404 or, if `allowed` is not empty, 405
    std::vector<std::string> parameters;
    std::string allowed;  // "GET, HEAD"
  };

  // What a proxy puts in front of every path ("/llm"); paths without it are found too.
  void set_root_path(std::string root);
  // add("GET", "/v1/models/{name}*", …). The methods of one path may be spread over several calls.
  void add(std::string method, std::string pattern, RouteOptions options, Route route);
  // HEAD finds the route of GET.
  Match match(std::string_view method, std::string_view path) const;
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::string root_;
  std::vector<Entry> entries_;
};

}  // namespace quern
