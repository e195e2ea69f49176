// SPDX-License-Identifier: Apache-2.0
// What launchers of processes on several machines say to each of them in its environment.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace quern {

struct LaunchPlace {
  std::string launcher;  // "Slurm"
  int count = 1, number = 0;
  std::string head_host;  // of process 0; empty where the launcher does not say
};

// Of LeaderWorkerSet (Kubernetes), Open MPI, PMI (MPICH, Intel MPI) or Slurm, the first that
// speaks: variables of an outer one may be left over (mpirun within an allocation of Slurm).
// nullopt: none. Throws invalid_argument for numbers that are none.
std::optional<LaunchPlace> launch_place(const std::function<const char*(const char*)>& variable);

// "node[03-05,9],gpu1" → "node03".
std::string first_host(const std::string& list);

}  // namespace quern
