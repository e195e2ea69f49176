// SPDX-License-Identifier: Apache-2.0
// Text from outside, fit to stand in a message: fmt's own {:?} fails on bytes that are no UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "base/format.h"

namespace quern {

// In quotes; visible ASCII as it is, every other byte as \xNN.
inline std::string shown_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain = byte >= ' ' && byte < 0x7f && c != '"' && c != '\\';
    out += is_plain ? std::string(1, c) : format("\\x{:02x}", byte);
  }
  return out + "\"";
}

}  // namespace quern
