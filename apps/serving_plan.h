// SPDX-License-Identifier: Apache-2.0
// What `quern plan --json` says of a model as it is being served.
#pragma once

#include <string>

#include "loaded_model.h"

namespace quern {

// Builds the model once more for each rank, on a device that has no bytes: a fraction of a second.
std::string serving_plan(const ModelOptions& options, LoadedModel& loaded);

}  // namespace quern
