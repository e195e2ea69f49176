// SPDX-License-Identifier: Apache-2.0
// The model behind an OpenAI-compatible server.
#pragma once

#include <cstdint>
#include <string>

#include "agent/action.h"
#include "agent/adb.h"
#include "agent/api_client.h"

namespace quern::agent {

// A base URL as people write it, with or without "/v1" and slashes at its end: what OpenAI's client
// takes, which always has a path.
std::string openai_base_url(std::string url);

// What a chat completion answered: content, thoughts and calls apart. Throws unavailable if it has
// no message.
ModelAnswer answer_in(const Json& completion);

struct AskOptions {
  CallLimits limits;
  int retries = 3;          // after a server that is busy or gone
  bool constrains = false;  // the answer ends with one whole action (structured_outputs, quern)
};

// One chat completion; what may go away by itself is asked again after a pause.
ModelAnswer ask_model(const Endpoint& endpoint,
                      const Json& request,
                      const AskOptions& options,
                      const Pause& pause);

}  // namespace quern::agent
