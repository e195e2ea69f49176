// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace quern {

// `prefix` and 128 bits that nobody can foretell, in hexadecimal: whoever has the id may have what
// it names.
std::string random_id(std::string_view prefix);

}  // namespace quern
