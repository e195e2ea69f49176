// SPDX-License-Identifier: Apache-2.0
// LocalExecutor: one rank as a thread of this process. It owns nothing of the model but its KV
// cache and encoded media.
#pragma once

#include <memory>

#include "engine/executor.h"
#include "engine/step_runner.h"

namespace quern {

// `probe`, if given, sees every forward pass (tests).
std::unique_ptr<Executor> make_local_executor(uint64_t epoch,
                                              RankParts parts,
                                              Probe* probe = nullptr);

}  // namespace quern
