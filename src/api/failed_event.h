// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/request.h"

namespace quern {

// Throws RequestError: what an event with finish error or cancelled says of its request. Once that
// was accepted it is not the requester's doing.
[[noreturn]] void fail_as(const TokenEvent& event);

}  // namespace quern
