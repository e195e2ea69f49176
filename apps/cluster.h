// SPDX-License-Identifier: Apache-2.0
// Which rank stands where: the flags of parallelism turned into places, machines and groups.
#pragma once

#include <string>
#include <vector>

#include "parallel_options.h"
#include "worker_job.h"

namespace quern {

RankPlace place_of(const ParallelOptions& options, int rank);

// The world ranks of one machine: neighbours, so that stages cross machines where there are some.
std::vector<int> ranks_of_node(const ParallelOptions& options, int node);
int node_of(const ParallelOptions& options, int rank);

// The machines besides the head that have ranks.
std::vector<int> further_nodes(const ParallelOptions& options);
// The same launch dealt out to fewer machines, which keep their ranks and their numbers: as many
// stages where that leaves them equally many ranks, else one.
ParallelOptions without_nodes(ParallelOptions options, const std::vector<int>& lost);

// Whether these ranks meet over TCP: if asked, or if they are on several machines. Throws
// invalid_argument where shared memory was asked for and they are.
bool meets_over_tcp(const ParallelOptions& options, const std::vector<int>& ranks);

// What all machines of a launch know: the content of --cluster-secret-file, which nobody else may
// read, or, with one machine, something new. Throws invalid_argument, not_found.
std::string read_secret(const ParallelOptions& options);

// The address of this machine for other ranks: --node-addr, else that of the head, else loopback.
std::string listen_host_of(const ParallelOptions& options);

}  // namespace quern
