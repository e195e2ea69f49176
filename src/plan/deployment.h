// SPDX-License-Identifier: Apache-2.0
// Deployment: whether a model fits on given devices at given degrees, how it is dealt out, and how
// fast the devices let it be. A survey says the same of every degree.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "plan/device.h"
#include "plan/rank_plan.h"

namespace quern {

struct PlanRequest {
  PlanSubjects subjects;
  ModelAxes axes;      // axes_of(subjects)
  DeviceModel device;  // of count devices; ranks take one each
  Degrees degrees;
  double utilization = 0.9;  // share of a device's memory that may be taken
  // On a machine's own memory: whether experts that do not fit stay in the file, and what each rank
  // holds of them at most.
  bool may_leave_experts = true;
  int64_t most_expert_bytes = std::numeric_limits<int64_t>::max();
};

struct Deployment {
  std::vector<RankPlan> ranks;  // stage by stage
  int64_t budget_bytes = 0;     // of each rank; of all where they share a memory
  int64_t kv_tokens = 0;        // that fit on the fullest rank; 0: not one
  int64_t missing_bytes = 0;    // on the fullest rank, for one sequence of the asked length
  double decode_tokens_per_s = 0, prefill_tokens_per_s = 0;  // one sequence; 0: rates not given
  double slowest_share = 1;  // what the busiest tensor rank reads over its even share

  bool fits() const { return missing_bytes == 0; }
  // Of all ranks: experts that are held, and that stay in the file; what a token is to read of the
  // latter if choices are spread evenly.
  int64_t experts_held() const;
  int64_t experts_in_file() const;
  double file_bytes_per_token() const;
};

Deployment plan_deployment(const PlanRequest& request);

// What rules of other engines say of a degree, in their words where they have some; empty: nothing.
std::vector<std::string> peer_refusals(const ModelAxes& axes, int degree);

struct DegreeRow {
  int degree = 1;
  bool is_even = false;  // every rank holds as much as every other
  Deployment deployment;
  std::vector<std::string> refusals;
};
// Degrees 1 to `most`, each on as many devices.
std::vector<DegreeRow> survey_degrees(const PlanRequest& request, int most);

// The smallest change that would make it fit, as a sentence; empty if nothing tried does.
std::string remedy(const PlanRequest& request);

}  // namespace quern
