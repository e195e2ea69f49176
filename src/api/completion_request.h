// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions, /tokenize and /detokenize, as they come over the wire.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/chat_request.h"
#include "api/text_or_tokens.h"

namespace quern {

struct CompletionRequest {
  std::string model;                  // empty: the served one
  std::vector<TextOrTokens> prompts;  // at least one
  bool add_special_tokens = true;
  SamplingFields sampling;
  bool echo = false;  // the prompt in front of each answer
  bool stream = false;
  StreamOptions stream_options;

  static CompletionRequest parse(const Json& body, std::vector<std::string>* ignored = nullptr);
};

struct TokenizeRequest {
  std::string model;
  std::optional<std::string> prompt;  // or
  std::optional<ChatMessages> chat;
  bool add_special_tokens = true;  // of `prompt`
  bool return_token_strs = false;

  static TokenizeRequest parse(const Json& body);
};

struct DetokenizeRequest {
  std::string model;
  TokenIds tokens;

  static DetokenizeRequest parse(const Json& body);
};

}  // namespace quern
