// SPDX-License-Identifier: Apache-2.0
#include "plan/machine_map.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/format.h"

namespace quern {
namespace {

constexpr size_t kMostMachines = 64;
constexpr double kOddRatio = 4;  // of the two ways of a link

double positive(const Json& json, const char* key, std::string_view where) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number() || !(it->get<double>() > 0) ||
      !std::isfinite(it->get<double>()))
    fail(ErrorCode::data_loss, "{}: {}: expected a number above 0", where, key);
  return it->get<double>();
}

const Json& array_at(const Json& json, const char* key, std::string_view where) {
  const auto it = json.is_object() ? json.find(key) : json.end();
  if (!json.is_object() || it == json.end() || !it->is_array())
    fail(ErrorCode::data_loss, "{}: {}: expected an array; is it of quern net-check?", where, key);
  return *it;
}

size_t index_at(const Json& json, const char* key, size_t end, std::string_view where) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number_integer() || it->get<int64_t>() < 0 ||
      it->get<int64_t>() >= static_cast<int64_t>(end))
    fail(ErrorCode::data_loss, "{}: {}: expected the number of a machine", where, key);
  return it->get<size_t>();
}

std::string text_at(const Json& json, const char* key) {
  const auto it = json.find(key);
  return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

MachineMap MachineMap::parse(const Json& json, std::string_view where) {
  MachineMap out;
  for (const Json& machine : array_at(json, "machines", where)) {
    if (out.machines.size() == kMostMachines)
      fail(ErrorCode::data_loss, "{}: more than {} machines", where, kMostMachines);
    if (!machine.is_object()) fail(ErrorCode::data_loss, "{}: a machine is no object", where);
    out.machines.push_back(
        {text_at(machine, "address"),
         static_cast<int>(std::min(positive(machine, "cores", where), 1e6)),
         static_cast<int64_t>(std::min(positive(machine, "memory_bytes", where), 1e18)),
         positive(machine, "read_bytes_per_s", where)});
  }
  const size_t count = out.machines.size();
  if (count == 0) fail(ErrorCode::data_loss, "{}: no machines", where);
  out.links.assign(count, std::vector<LinkModel>(count, {.problem = "not measured"}));
  for (size_t i = 0; i < count; ++i) out.links[i][i].problem.clear();
  for (const Json& link : array_at(json, "links", where)) {
    if (!link.is_object()) fail(ErrorCode::data_loss, "{}: a link is no object", where);
    LinkModel& at =
        out.links[index_at(link, "from", count, where)][index_at(link, "to", count, where)];
    at.problem = text_at(link, "problem");
    if (!at.problem.empty()) continue;
    at.round_trip_s = positive(link, "round_trip_s", where);
    at.bytes_per_s = positive(link, "bytes_per_s", where);
  }
  return out;
}

Json MachineMap::to_json() const {
  Json out = {{"machines", Json::array()}, {"links", Json::array()}};
  for (const MachineModel& m : machines)
    out["machines"].push_back({{"address", m.address},
                               {"cores", m.cores},
                               {"memory_bytes", m.memory_bytes},
                               {"read_bytes_per_s", m.bytes_per_s}});
  for (size_t from = 0; from < links.size(); ++from)
    for (size_t to = 0; to < links.size(); ++to) {
      if (from == to) continue;
      const LinkModel& link = links[from][to];
      Json one = {{"from", from}, {"to", to}};
      if (link.problem.empty())
        one.update({{"round_trip_s", link.round_trip_s}, {"bytes_per_s", link.bytes_per_s}});
      else
        one["problem"] = link.problem;
      out["links"].push_back(std::move(one));
    }
  return out;
}

bool MachineMap::is_whole() const {
  return std::ranges::all_of(links, [](const std::vector<LinkModel>& row) {
    return std::ranges::all_of(row, [](const LinkModel& l) { return l.problem.empty(); });
  });
}

std::vector<std::string> oddities(const MachineMap& map) {
  std::vector<std::string> out;
  for (size_t a = 0; a < map.links.size(); ++a)
    for (size_t b = 0; b < map.links.size(); ++b) {
      const LinkModel &there = map.links[a][b], &back = map.links[b][a];
      if (a == b) continue;
      if (!there.problem.empty())
        out.push_back(format("machine {} does not reach machine {} ({}): {}; the other way {}",
                             a,
                             b,
                             map.machines[b].address,
                             there.problem,
                             back.problem.empty() ? "works: look for a firewall on the latter"
                                                  : "does not work either"));
      else if (back.problem.empty() && there.bytes_per_s * kOddRatio < back.bytes_per_s)
        out.push_back(
            format("machine {} sends to machine {} at {:.3g} MB/s, which sends back at "
                   "{:.3g}",
                   a,
                   b,
                   there.bytes_per_s * 1e-6,
                   back.bytes_per_s * 1e-6));
    }
  return out;
}

}  // namespace quern
