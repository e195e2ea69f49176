// SPDX-License-Identifier: Apache-2.0
// The items of /v1/responses (messages, function calls and their outputs, reasoning) as chat
// messages.
#pragma once

#include <string>

#include "api/translated_chat.h"

namespace quern {

// Appends the items of `items` to the chat, whose messages are called by their places below `path`
// in errors ("input[3]"). Throws RequestError.
void add_items(TranslatedChat& chat, const Json& items, const std::string& path);

}  // namespace quern
