// SPDX-License-Identifier: Apache-2.0
// POST /v1/responses (OpenAI's newer API) as a chat request.
#pragma once

#include <memory>
#include <string>

#include "api/response_store.h"
#include "api/translated_chat.h"

namespace quern {

struct ResponsesRequest {
  TranslatedChat chat;
  std::shared_ptr<const Json> shown;  // what the response object repeats of the request
  std::string input;                  // JSON of all items that the model is given
  bool is_stored = true;
  bool shows_logprobs = false;

  // `store` (may be null) is where previous_response_id is looked up, among those of `owner`.
  // Throws RequestError naming the field.
  static ResponsesRequest parse(const Json& body, ResponseStore* store, std::string_view owner);
};

// What the chat request did not know either: throws for a name that looks like one of this dialect.
void reject_misspelt_in_responses(const Json& body, const std::vector<std::string>& unknown);

}  // namespace quern
