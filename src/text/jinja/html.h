// SPDX-License-Identifier: Apache-2.0
// Escaping for HTML and for URLs.
#pragma once

#include <string>
#include <string_view>

namespace quern::jinja {

// & < > " ' as character references.
std::string escape_html(std::string_view text);

// Percent-encodes all but unreserved characters and "/"; in a query "/" too, and a space becomes
// "+".
std::string quote_url(std::string_view text, bool is_query);

}  // namespace quern::jinja
