// SPDX-License-Identifier: Apache-2.0
// POST /v1/messages (Anthropic's API) as a chat request.
#pragma once

#include "api/translated_chat.h"

namespace quern {

// Throws RequestError naming the field. `counts_only`: /v1/messages/count_tokens, where max_tokens
// is not asked for.
TranslatedChat chat_of_messages(const Json& body, bool counts_only);

// What the chat request did not know either: throws for a name that looks like one of this dialect.
void reject_misspelt_in_messages(const Json& body, const std::vector<std::string>& unknown);

}  // namespace quern
