// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/scheduler.h"
#include "engine/step_plan.h"

namespace quern {

// The plan that carries `schedule` out: flat arrays in the order of its slices. Linear in tokens
// and blocks.
StepPlan build_plan(const Schedule& schedule, int block_size);

}  // namespace quern
