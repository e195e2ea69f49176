// SPDX-License-Identifier: Apache-2.0
// A deployment and a survey of degrees as text of 100 columns, and as JSON.
#pragma once

#include <string>

#include "base/json.h"
#include "plan/deployment.h"

namespace quern {

std::string report_text(const PlanRequest& request,
                        const Deployment& deployment,
                        const std::vector<DegreeRow>& survey,
                        const std::string& remedy);
Json report_json(const PlanRequest& request,
                 const Deployment& deployment,
                 const std::vector<DegreeRow>& survey,
                 const std::string& remedy);

}  // namespace quern
