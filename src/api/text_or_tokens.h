// SPDX-License-Identifier: Apache-2.0
// A prompt that is no conversation: a text, or the ids that it would become.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/field_reader.h"

namespace quern {

using TokenIds = std::vector<int32_t>;
using TextOrTokens = std::variant<std::string, TokenIds>;

constexpr size_t kMaxPromptTokens = size_t{1} << 24;

// The field `name`, which must be there: a string, a list of strings, a list of ids, or a list of
// lists of ids, at most `most` prompts. Throws RequestError naming it.
std::vector<TextOrTokens> texts_or_tokens(FieldReader& fields, std::string_view name, size_t most);

}  // namespace quern
