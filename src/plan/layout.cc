// SPDX-License-Identifier: Apache-2.0
#include "plan/layout.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "base/format.h"

namespace quern {
namespace {

constexpr int kHeadPort = 29'500;
constexpr double kFloatBytes = 4;

// Machine of tensor rank `t` of a stage.
size_t machine_at(const Layout& l, int stage, int t) {
  return static_cast<size_t>(l.machines[static_cast<size_t>(stage * l.degrees.tensor + t)]);
}

// Each tensor rank takes by what the poorer of its machines has; nothing is said where all are
// alike.
template <typename Wealth>
void split_by(Layout& l, const MachineMap& map, Wealth wealth) {
  std::vector<double> has;
  for (int t = 0; t < l.degrees.tensor; ++t) {
    double least = wealth(map.machines[machine_at(l, 0, t)]);
    for (int stage = 1; stage < l.degrees.stages; ++stage)
      least = std::min(least, wealth(map.machines[machine_at(l, stage, t)]));
    has.push_back(least);
  }
  const double poorest = *std::ranges::min_element(has);
  constexpr double kAlike = 1.1;  // measurements of equal machines differ
  l.degrees.proportions.clear();
  if (*std::ranges::max_element(has) < kAlike * poorest) return;
  for (const double one : has)  // tenths, as a person would type them
    l.degrees.proportions.push_back(std::round(10 * one / poorest) / 10);
}

// The worse of the two ways.
LinkModel link_between(const MachineMap& map, size_t a, size_t b) {
  const LinkModel &there = map.links[a][b], &back = map.links[b][a];
  return {std::max(there.round_trip_s, back.round_trip_s),
          std::min(there.bytes_per_s, back.bytes_per_s),
          !there.problem.empty() ? there.problem : back.problem};
}

class Judge {
 public:
  Judge(const PlanRequest& request, const MachineMap& map) : q_(request), map_(map) {}

  void judge(Layout& l) const {
    std::vector<RankPlan> ranks;
    for (int rank = 0; rank < l.degrees.world(); ++rank)
      ranks.push_back(plan_rank(q_.subjects, l.degrees, rank));
    double seconds = 0;
    for (int stage = 0; stage < l.degrees.stages; ++stage) {
      double slowest = 0;
      for (int t = 0; t < l.degrees.tensor; ++t) {
        const RankPlan& r = ranks[static_cast<size_t>(stage * l.degrees.tensor + t)];
        const MachineModel& machine = map_.machines[machine_at(l, stage, t)];
        slowest = std::max(slowest, static_cast<double>(r.read_bytes) / machine.bytes_per_s);
        lack(l, r, machine);
      }
      const RankPlan& first = ranks[static_cast<size_t>(stage * l.degrees.tensor)];
      seconds += slowest + meeting_seconds(l, first, stage) + handing_seconds(l, stage);
    }
    expect_head_is_reached(l);
    l.decode_tokens_per_s = l.problem.empty() && seconds > 0 ? 1 / seconds : 0;
  }

 private:
  void lack(Layout& l, const RankPlan& r, const MachineModel& machine) const {
    const auto budget =
        static_cast<int64_t>(static_cast<double>(machine.memory_bytes) * q_.utilization);
    const int64_t wanted =
        r.bytes.fixed() + q_.subjects.config.max_model_len * r.bytes.kv_per_token;
    l.missing_bytes = std::max({l.missing_bytes, wanted - budget, int64_t{0}});
  }

  LinkModel link(Layout& l, size_t a, size_t b) const {
    LinkModel out = link_between(map_, a, b);
    if (!out.problem.empty())
      l.problem = format("machines {} and {} cannot talk: {}", a, b, out.problem);
    return out;
  }

  // All ranks of a stage exchange the parts of a sum and its results: two rounds over the worst
  // link, which a round trip has the time of.
  double meeting_seconds(Layout& l, const RankPlan& r, int stage) const {
    double trip = 0, per_byte = 0;
    for (int a = 0; a < l.degrees.tensor; ++a)
      for (int b = a + 1; b < l.degrees.tensor; ++b) {
        const LinkModel way = link(l, machine_at(l, stage, a), machine_at(l, stage, b));
        if (!way.problem.empty()) return 0;
        trip = std::max(trip, way.round_trip_s);
        per_byte = std::max(per_byte, 1 / way.bytes_per_s);
      }
    const double share = 2.0 * (l.degrees.tensor - 1) / l.degrees.tensor;
    return static_cast<double>(r.meetings) * trip +
           share * static_cast<double>(r.met_floats) * kFloatBytes * per_byte;
  }

  // Hidden states on to the next stage; its ranks each from the one in the same place.
  double handing_seconds(Layout& l, int stage) const {
    if (stage + 1 == l.degrees.stages) return 0;
    double slowest = 0;
    for (int t = 0; t < l.degrees.tensor; ++t) {
      const LinkModel way = link(l, machine_at(l, stage, t), machine_at(l, stage + 1, t));
      if (!way.problem.empty()) return 0;
      const double bytes = static_cast<double>(q_.axes.hidden) * kFloatBytes;
      slowest = std::max(slowest, way.round_trip_s / 2 + bytes / way.bytes_per_s);
    }
    return slowest;
  }

  // Everybody is told what to do by the head.
  void expect_head_is_reached(Layout& l) const {
    for (const int machine : l.machines)
      if (const LinkModel& way = map_.links[static_cast<size_t>(machine)][0]; !way.problem.empty())
        l.problem = format("machine {} does not reach the head: {}", machine, way.problem);
  }

  const PlanRequest& q_;
  const MachineMap& map_;
};

// Machines in the order in which they are taken: the head, then by speed.
std::vector<int> by_speed(const MachineMap& map) {
  std::vector<int> out(map.machines.size());
  std::iota(out.begin(), out.end(), 0);
  std::stable_sort(out.begin() + 1, out.end(), [&](int a, int b) {
    return map.machines[static_cast<size_t>(a)].bytes_per_s >
           map.machines[static_cast<size_t>(b)].bytes_per_s;
  });
  return out;
}

// Stages are made of neighbours: behind the first of each come those that meet it soonest.
std::vector<int> grouped(std::vector<int> machines, int tensor, const MachineMap& map) {
  std::vector<int> out;
  while (!machines.empty()) {
    const int first = machines.front();
    machines.erase(machines.begin());
    out.push_back(first);
    const auto trip = [&](int other) {
      const LinkModel way =
          link_between(map, static_cast<size_t>(first), static_cast<size_t>(other));
      return way.problem.empty() ? way.round_trip_s : 1e9;
    };
    std::ranges::stable_sort(machines, [&](int a, int b) { return trip(a) < trip(b); });
    const auto end = machines.begin() + std::min<std::ptrdiff_t>(tensor - 1, std::ssize(machines));
    out.insert(out.end(), machines.begin(), end);
    machines.erase(machines.begin(), end);
  }
  return out;
}

std::string joined(const std::vector<double>& numbers) {
  std::string out;
  for (const double n : numbers) out += format("{}{:g}", out.empty() ? "" : ",", n);
  return out;
}

std::string machines_text(const Layout& l) {
  std::string out;
  for (size_t i = 0; i < l.machines.size(); ++i)
    out += format("{}{}",
                  i == 0                                           ? ""
                  : i % static_cast<size_t>(l.degrees.tensor) == 0 ? " | "
                                                                   : "+",
                  l.machines[i]);
  return out;
}

std::string verdict(const Layout& l) {
  if (!l.problem.empty()) return l.problem;
  if (l.missing_bytes > 0)
    return format("lacks {:.2f} GiB", static_cast<double>(l.missing_bytes) / (int64_t{1} << 30));
  return l.decode_tokens_per_s > 0 ? format("{:.3g} tokens/s at best", l.decode_tokens_per_s)
                                   : "fits";
}

}  // namespace

std::vector<Layout> layouts(const PlanRequest& request, const MachineMap& map) {
  const Judge judge(request, map);
  const std::vector<int> all = by_speed(map);
  std::vector<Layout> out;
  for (int count = 1; count <= static_cast<int>(all.size()); ++count)
    for (int tensor = 1; tensor <= count; ++tensor) {
      if (count % tensor != 0) continue;
      Layout& l = out.emplace_back();
      l.machines = grouped({all.begin(), all.begin() + count}, tensor, map);
      l.degrees = {.tensor = tensor, .stages = count / tensor, .proportions = {}};
      split_by(l, map, [](const MachineModel& m) { return m.bytes_per_s; });
      judge.judge(l);
      if (l.missing_bytes == 0 || tensor == 1) continue;
      Layout by_memory = l;
      by_memory.missing_bytes = 0;
      split_by(by_memory, map, [](const MachineModel& m) {
        return static_cast<double>(m.memory_bytes);
      });
      judge.judge(by_memory);
      out.push_back(std::move(by_memory));
    }
  std::ranges::stable_sort(out, [](const Layout& a, const Layout& b) {
    return std::tuple(!a.works(), !a.problem.empty(), a.missing_bytes, -a.decode_tokens_per_s) <
           std::tuple(!b.works(), !b.problem.empty(), b.missing_bytes, -b.decode_tokens_per_s);
  });
  return out;
}

std::string command_of(const Layout& l, const MachineMap& map, const std::string& model, int node) {
  std::string out = "quern serve " + model;
  if (l.degrees.tensor > 1) out += format(" -tp {}", l.degrees.tensor);
  if (!l.degrees.proportions.empty())
    out += " --tensor-parallel-split " + joined(l.degrees.proportions);
  if (l.degrees.stages > 1) out += format(" -pp {}", l.degrees.stages);
  if (l.machines.size() == 1) return out;
  const auto address = [&](int at) {
    return map.machines[static_cast<size_t>(l.machines[static_cast<size_t>(at)])].address;
  };
  const std::string head = address(0);
  out += format(" --nnodes {} --node-rank {} --head-addr {}:{} --cluster-secret-file secret",
                l.machines.size(),
                node,
                head.find(':') == std::string::npos ? head : "[" + head + "]",
                kHeadPort);
  if (node > 0) out += " --node-addr " + address(node);
  return out;
}

std::string layout_text(const std::vector<Layout>& found,
                        const MachineMap& map,
                        const std::string& model,
                        size_t most) {
  std::string out = format(
      "{:<24} {:>4} {:>4}  {:<20} {}\n", "machines (| stages)", "-tp", "-pp", "split", "verdict");
  for (size_t i = 0; i < std::min(most, found.size()); ++i)
    out +=
        format("{:<24} {:>4} {:>4}  {:<20} {}\n",
               machines_text(found[i]),
               found[i].degrees.tensor,
               found[i].degrees.stages,
               found[i].degrees.proportions.empty() ? "even" : joined(found[i].degrees.proportions),
               verdict(found[i]));
  if (found.empty() || !found.front().works()) return out + "\nNone of these works.\n";
  out += "\nThe first of them, on each machine:\n";
  for (size_t node = 0; node < found.front().machines.size(); ++node)
    out += format("  machine {}: {}\n",
                  found.front().machines[node],
                  command_of(found.front(), map, model, static_cast<int>(node)));
  return out;
}

Json layout_json(const std::vector<Layout>& found,
                 const MachineMap& map,
                 const std::string& model) {
  Json out = Json::array();
  for (const Layout& l : found) {
    Json one = {{"machines", l.machines},
                {"tensor_parallel_size", l.degrees.tensor},
                {"pipeline_parallel_size", l.degrees.stages},
                {"tensor_parallel_split", l.degrees.proportions},
                {"works", l.works()},
                {"decode_tokens_per_s", l.decode_tokens_per_s},
                {"missing_bytes", l.missing_bytes},
                {"problem", l.problem},
                {"commands", Json::array()}};
    for (size_t node = 0; node < l.machines.size(); ++node)
      one["commands"].push_back(command_of(l, map, model, static_cast<int>(node)));
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace quern
