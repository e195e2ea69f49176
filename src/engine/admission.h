// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/engine.h"
#include "engine/request.h"

namespace quern {

// Proves that the request can finish if it runs alone. Throws invalid_argument naming what is
// malformed or too long, exhausted where the KV cache is too small, each with the numbers.
void check_admissible(const Request& request, const EngineConfig& config);

// Of EngineConfig::most_rows, those that are for drafts.
int most_draft_rows(const EngineConfig& config);

}  // namespace quern
