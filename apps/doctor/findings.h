// SPDX-License-Identifier: Apache-2.0
// Findings: what is wrong with a set-up, and the command that mends it.
#pragma once

#include <string>
#include <vector>

#include "base/topology.h"
#include "doctor/host.h"

namespace quern::doctor {

struct Finding {
  std::string what;
  std::string command;
};

// What costs speed or memory on this machine, the dearest first; empty if nothing does.
std::vector<Finding> findings_of(const Host& host, const Topology& machine);

}  // namespace quern::doctor
