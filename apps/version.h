// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace quern {

inline constexpr const char* kVersion = QUERN_VERSION;  // of CMakeLists.txt

}  // namespace quern
