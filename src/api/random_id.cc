// SPDX-License-Identifier: Apache-2.0
#include "api/random_id.h"

#include <random>

#include "base/format.h"

namespace quern {

std::string random_id(std::string_view prefix) {
  std::random_device system;  // the operating system's own source
  std::string out(prefix);
  for (int i = 0; i < 4; ++i) out += format("{:08x}", static_cast<uint32_t>(system()));
  return out;
}

}  // namespace quern
