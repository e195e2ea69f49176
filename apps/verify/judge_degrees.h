// SPDX-License-Identifier: Apache-2.0
// Holds a model on several ranks to the same model on one. The ranks are threads of this process.
#pragma once

#include <string>
#include <vector>

#include "verify/judges.h"

namespace quern {

struct DegreeOptions {
  std::vector<int> degrees;  // tensor-parallel sizes
  int stages = 1;            // pipeline stages of each
  int steps = 16;            // tokens that follow each prompt
};

// `model`: a golden folder, whose prompts are taken with their media, or any model, which gets
// prompts of this file. Each degree is shown the tokens that one rank chooses. Findings: for each
// prompt and degree the largest difference of any logit; in float32 it must stay within 2e-3, and
// the chosen tokens must agree wherever one rank's margin is twice that. In other modes both are
// stated.
void judge_degrees(const std::string& model,
                   const VerifyMode& mode,
                   const DegreeOptions& options,
                   Report& report);

}  // namespace quern
