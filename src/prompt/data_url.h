// SPDX-License-Identifier: Apache-2.0
// data: URLs (RFC 2397) and the two codings inside them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace quern {

// Strict base64 (RFC 4648): full padding, no blanks, the standard alphabet. Throws invalid_argument
// with the place.
std::string decode_base64(std::string_view text);
// %XX to bytes. Throws invalid_argument for a % without two hexadecimal digits.
std::string decode_percent(std::string_view text);

// The bytes of "data:[type][;parameter…][;base64],…". Throws invalid_argument for another form,
// exhausted if they are more than max_bytes (judged by the length of the text, before decoding).
std::string decode_data_url(std::string_view url, size_t max_bytes);

}  // namespace quern
