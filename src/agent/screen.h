// SPDX-License-Identifier: Apache-2.0
// Screen: one screenshot, and whether there is anything to see on it.
#pragma once

#include <cstdint>
#include <string>

#include "agent/adb.h"

namespace quern::agent {

struct Screen {
  std::string png;
  int64_t width = 0, height = 0;
  bool is_black = false;    // nothing but the bars at the edges: a protected page, or it sleeps
  std::string why_missing;  // not empty: the phone gave no picture (a protected page)
};

// A picture whose end the link cut off is taken anew. Throws DeviceLost.
Screen capture_screen(Adb& adb);

// Judges the bytes of a picture; for tests.
Screen screen_of(std::string png);

}  // namespace quern::agent
