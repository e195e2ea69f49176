// SPDX-License-Identifier: Apache-2.0
// A further machine: `quern serve MODEL --nnodes N --node-rank K --head-addr HOST:PORT`. It starts
// workers at the head's word and answers no requests.
#pragma once

#include "model_options.h"

namespace quern {

// Until the head ends (exit code 0), or does not come back (75).
int run_node(const ModelOptions& options);

}  // namespace quern
