// SPDX-License-Identifier: Apache-2.0
// A client of servers that speak OpenAI's API: JSON there, JSON back, every wait with a deadline.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/json.h"

namespace quern::agent {

struct Endpoint {
  std::string base_url;  // without a slash at its end
  std::string api_key;   // empty: none
};

struct CallLimits {
  int64_t timeout_s = 60;                   // of the whole call
  const std::atomic<bool>* stop = nullptr;  // set: the call ends soon, as cancelled
};

// GET of base_url + path. Throws unavailable, saying what to do, if nobody answers; the server's
// error for any other status than 200: invalid_argument for 4xx, unavailable for the rest.
Json get_json(const Endpoint& endpoint, const std::string& path, const CallLimits& limits = {});

// POST of a JSON body. Throws likewise, with what the server says of an error.
Json post_json(const Endpoint& endpoint,
               const std::string& path,
               const std::string& body,
               const CallLimits& limits);

// A model that the server lists.
struct ServedModel {
  std::string id, root;
  int64_t max_model_len = 0;  // 0: the server does not say
};
// That of the name `wanted`, or the first. Throws unavailable if none is listed.
ServedModel find_served(const Endpoint& endpoint,
                        const std::string& wanted,
                        const std::string& path = "/v1/models",
                        const CallLimits& limits = {});

}  // namespace quern::agent
