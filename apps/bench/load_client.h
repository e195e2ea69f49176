// SPDX-License-Identifier: Apache-2.0
// An HTTP client that sends requests at given times, whatever becomes of earlier ones, and times
// the events of their streamed answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/api_client.h"

namespace quern::bench {

// What a load and the questions around it are sent to; one question at a time is the agent's
// client.
using agent::Endpoint;
using agent::find_served;
using agent::get_json;
using agent::post_json;
using agent::ServedModel;

struct TimedRequest {
  double at_s = 0;   // since the start of the load
  std::string body;  // JSON of a streamed request
  int64_t input_tokens = 0;
};

// Seconds count from the moment the request was sent.
struct Outcome {
  bool is_success = false;
  std::string error;
  double sent_s = 0;  // since the start of the load
  double ttft_s = 0, latency_s = 0;
  std::vector<double> itl_s;  // between events that carry text
  int64_t input_tokens = 0, output_tokens = 0;
};

struct LoadLimits {
  int max_concurrency = 0;  // 0: none; requests that are due wait for a free place
  int64_t timeout_s = 6 * 3600;
};

struct LoadResult {
  double duration_s = 0;
  std::vector<Outcome> outcomes;  // in the order of the requests
  int most_at_once = 0;
};

// POSTs the requests (ascending in time) to `path` from one thread and waits for all answers.
// Lengths are those that the server's usage states, else the request's own and the number of
// events.
LoadResult send_load(const Endpoint& endpoint,
                     const std::string& path,
                     const std::vector<TimedRequest>& requests,
                     const LoadLimits& limits);

}  // namespace quern::bench
