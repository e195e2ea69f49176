// SPDX-License-Identifier: Apache-2.0
// A server asked over the OpenAI API, of whatever make.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "bench/load_client.h"
#include "eval/task_run.h"

namespace quern::compare {

struct Server {
  bench::Endpoint endpoint;
  std::string model;  // as requests name it
};

// Of "http://host:port", "…/v1" or "…#MODEL"; without a model the first that it serves. Throws
// unavailable if nobody answers.
Server server_named(const std::string& address, const std::string& api_key);

// Answers to tasks, 8 questions at a time. Throws the server's error.
std::vector<eval::TaskResults> answers_of_server(const Server& server,
                                                 const std::vector<eval::Task>& tasks);

struct SpeedShape {
  int input_tokens = 256, output_tokens = 64, runs = 3;
};

// {"prefill_tok_s", "decode_tok_s", "input_tokens"}: medians of streamed requests, one at a time,
// seen from here: input tokens over the time to the first text, and further tokens over the time
// from there. Prompts are pieces of prose of about that many tokens, each of its own.
Json speed_of_server(const Server& server, const SpeedShape& shape);

}  // namespace quern::compare
