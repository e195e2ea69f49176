// SPDX-License-Identifier: Apache-2.0
// Which build this is: by its code, as a version number could be forgotten.
#pragma once

#include <string>

#include "base/hash.h"

namespace quern {

// Of the program's machine code, without its libraries.
Hash128 hash_of_program();
// "0.1.0-1f2e3d4c5b6a7980": what machines compare before they work together.
std::string build_id();

}  // namespace quern
