// SPDX-License-Identifier: Apache-2.0
// Telephone numbers and addresses of the net in English text.
#pragma once

#include <string_view>

#include "text/spoken/readings.h"

namespace quern::spoken {

// Adds the readings of a telephone number with its area (+1 415-555-1234), an IP address or a
// social security number that begins at text[at]: digit by digit, a comma between the parts.
void add_english_telephones(std::u32string_view text, size_t at, Readings& out);

// Adds the reading of a mail address, a URL or a domain (example.com/path) that begins at text[at].
void add_english_net_addresses(std::u32string_view text, size_t at, Readings& out);

}  // namespace quern::spoken
