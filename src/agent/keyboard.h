// SPDX-License-Identifier: Apache-2.0
// Typing on a phone: by ADB Keyboard where that is installed, else by `input text`.
#pragma once

#include <string>

#include "agent/adb.h"

namespace quern::agent {

// Empties the field that has the focus and types `text` there. Returns why it could not be done,
// empty if it was: without ADB Keyboard only printable ASCII can be typed, and at most 4096 bytes
// ever. Throws DeviceLost.
std::string type_text(Adb& adb, const std::string& text);

}  // namespace quern::agent
