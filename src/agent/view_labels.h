// SPDX-License-Identifier: Apache-2.0
// What the phone itself says of a place on the screen (uiautomator), whatever a model says of it.
#pragma once

#include <string>
#include <string_view>

#include "agent/action.h"
#include "agent/adb.h"

namespace quern::agent {

// The texts and descriptions of the smallest thing at `pixel` that can be tapped, with what it
// contains, joined by blanks; empty where there is none. `dump`: XML of `uiautomator dump`.
std::string label_at(std::string_view dump, Place pixel);

// Asks the phone; empty if it does not know (a moving page, a game). Throws DeviceLost.
std::string ask_label(Adb& adb, Place pixel);

}  // namespace quern::agent
