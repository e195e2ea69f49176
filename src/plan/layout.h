// SPDX-License-Identifier: Apache-2.0
// Layout: which machines of a map take part, and how a model's layers are dealt out to them: parts
// of each layer where links are fast, whole stages of layers across slow ones. One rank a machine.
#pragma once

#include <string>
#include <vector>

#include "plan/deployment.h"
#include "plan/machine_map.h"

namespace quern {

struct Layout {
  std::vector<int> machines;  // by node rank: the head first
  Degrees degrees;            // proportions: what each tensor rank takes, where machines differ
  double decode_tokens_per_s = 0;  // one sequence, at best
  int64_t missing_bytes = 0;       // on the machine that lacks most; 0: it fits
  std::string problem;             // two machines that would have to talk and cannot

  bool works() const { return missing_bytes == 0 && problem.empty(); }
};

// The head alone, with the next fastest machine, with the next two, …, in every grid of tensor
// ranks and stages: those that work first, the fastest of them first; then those that lack least.
// request.device is not looked at. Each rank reads its weights at its machine's rate; ranks of a
// stage meet for a round trip and what their links carry; stages hand hidden states on.
std::vector<Layout> layouts(const PlanRequest& request, const MachineMap& map);

// The command of machine `node` of a layout, without what is its own: quern serve MODEL -tp …
std::string command_of(const Layout& layout,
                       const MachineMap& map,
                       const std::string& model,
                       int node);
// A table of the first `most` layouts and the commands of the best.
std::string layout_text(const std::vector<Layout>& found,
                        const MachineMap& map,
                        const std::string& model,
                        size_t most = 8);
Json layout_json(const std::vector<Layout>& found, const MachineMap& map, const std::string& model);

}  // namespace quern
