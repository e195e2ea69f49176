// SPDX-License-Identifier: Apache-2.0
// The CPUs of one machine divided among the ranks that run on it.
#pragma once

#include <span>
#include <vector>

#include "base/topology.h"

namespace quern {

// The NUMA node of each logical CPU that is asked for; 0 where the system does not say.
std::vector<int> nodes_of(std::span<const int> cpus);

// One CPU per physical core to one rank each, `parts` disjoint sets of as equal a size as can be;
// `nodes[i]` is the NUMA node of cpus[i]: a set spans nodes only where there are fewer ranks than
// nodes, or ranks do not divide among them. With more ranks than cores all sets are empty: the
// system may place them anywhere.
std::vector<std::vector<int>> divide_cpus(std::span<const int> cpus,
                                          std::span<const int> nodes,
                                          int parts);
// The same for the physical cores of `machine`.
std::vector<std::vector<int>> divide_cpus(const Topology& machine, int parts);

// Binds the calling thread, and those that it will start, to these; none: it runs anywhere.
void bind_process(const std::vector<int>& cpus);

}  // namespace quern
