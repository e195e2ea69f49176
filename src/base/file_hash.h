// SPDX-License-Identifier: Apache-2.0
// The content hash of a file of any size, read through one small buffer.
#pragma once

#include <string>

#include "base/hash.h"

namespace quern {

// hash_bytes() of all of the file. Throws not_found or unavailable naming it.
Hash128 hash_file(const std::string& path);

}  // namespace quern
