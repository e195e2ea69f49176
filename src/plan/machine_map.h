// SPDX-License-Identifier: Apache-2.0
// MachineMap: the machines of a cluster and what lies between each two of them, as `quern
// net-check` measured it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace quern {

struct MachineModel {
  std::string address;  // by which the others reach it
  int cores = 1;
  int64_t memory_bytes = 0;  // free when it was measured
  double bytes_per_s = 0;    // read from its memory, by all cores
};

// From one machine to another.
struct LinkModel {
  double round_trip_s = 0;   // of a small message
  double bytes_per_s = 0;    // one way
  std::string problem = {};  // why there is none; empty: there is one
};

struct MachineMap {
  std::vector<MachineModel> machines;         // the first is the head
  std::vector<std::vector<LinkModel>> links;  // [from][to]; of a machine to itself: nothing

  // Throws data_loss naming what is missing or out of bounds; `where` names the source.
  static MachineMap parse(const Json& json, std::string_view where);
  Json to_json() const;
  bool is_whole() const;  // every two machines can talk, whoever begins
};

// What is odd about the links, for people: a way that is closed, or much slower than its return.
std::vector<std::string> oddities(const MachineMap& map);

}  // namespace quern
