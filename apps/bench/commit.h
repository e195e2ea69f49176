// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern::bench {

// The commit that this binary was built from, "-dirty" behind it where sources differed from it;
// "unknown" outside a repository. Defined by commit.cmake.
extern const char* const kCommit;

}  // namespace quern::bench
