// SPDX-License-Identifier: Apache-2.0
#include "plan/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error_of.h"

namespace quern {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kGib = int64_t{1} << 30;

PlanRequest request() {
  PlanRequest q;
  q.subjects.checkpoint = shapes_only_checkpoint(
      Config::read(std::string(QUERN_SOURCE_DIR) +
                   "/tests/data/configs/qwen2-vl-72b-instruct-awq/config.json"),
      {});
  q.subjects.isa = Isa::avx512_bf16;
  q.subjects.config.max_num_seqs = 1;
  q.subjects.config.max_model_len = 4096;
  q.axes = axes_of(q.subjects);
  return q;
}

// Machines that all read 30 GB/s, links of one kind.
MachineMap map_of(const std::vector<int64_t>& gib, double round_trip_s, double bytes_per_s) {
  MachineMap map;
  for (size_t i = 0; i < gib.size(); ++i)
    map.machines.push_back({format("10.0.0.{}", i + 1), 8, gib[i] * kGib, 30e9});
  map.links.assign(gib.size(), std::vector<LinkModel>(gib.size(), {round_trip_s, bytes_per_s, {}}));
  return map;
}

TEST(Layouts, SharesLayersOverAFastLinkAndStagesOverASlowOne) {
  const PlanRequest q = request();
  const Layout fast = layouts(q, map_of({64, 64}, 30e-6, 1.2e9)).front();
  EXPECT_EQ(fast.degrees.tensor, 2);
  EXPECT_THAT(fast.degrees.proportions, IsEmpty());
  // 161 meetings of a token cost 161 round trips.
  const Layout slow = layouts(q, map_of({32, 32}, 20e-3, 0.1e9)).front();
  EXPECT_EQ(slow.degrees.tensor, 1);
  EXPECT_EQ(slow.degrees.stages, 2);
  EXPECT_TRUE(slow.works());
  // One machine that holds it is as fast as two stages, and needs no link.
  EXPECT_THAT(layouts(q, map_of({64, 64}, 20e-3, 0.1e9)).front().machines, ElementsAre(0));
}

TEST(Layouts, TakesNearMachinesTogether) {
  MachineMap map = map_of({64, 64, 64, 64}, 10e-3, 0.1e9);
  for (const auto& [a, b] : {std::pair{0, 2}, {1, 3}})
    map.links[a][b] = map.links[b][a] = {30e-6, 5e9, {}};
  const std::vector<Layout> found = layouts(request(), map);
  const auto grid = std::ranges::find_if(
      found, [](const Layout& l) { return l.degrees.tensor == 2 && l.degrees.stages == 2; });
  ASSERT_NE(grid, found.end());
  EXPECT_THAT(grid->machines, ElementsAre(0, 2, 1, 3));
  EXPECT_TRUE(grid->works());
}

TEST(Layouts, UnevenMachinesTakeUnevenParts) {
  MachineMap map = map_of({64, 64}, 30e-6, 1.2e9);
  map.machines[0].bytes_per_s = 60e9;
  const Layout best = layouts(request(), map).front();
  EXPECT_THAT(best.degrees.proportions, ElementsAre(2, 1));
  EXPECT_THAT(
      command_of(best, map, "M", 1),
      "quern serve M -tp 2 --tensor-parallel-split 2,1 --nnodes 2 --node-rank 1 --head-addr "
      "10.0.0.1:29500 --cluster-secret-file secret --node-addr 10.0.0.2");
  // By memory where it would not fit by speed.
  const std::vector<Layout> small = layouts(request(), map_of({18, 54}, 30e-6, 1.2e9));
  EXPECT_THAT(small.front().degrees.proportions, ElementsAre(1, 3));
  EXPECT_TRUE(small.front().works());
}

TEST(Layouts, SayWhatLacksAndWhoCannotTalk) {
  const std::vector<Layout> small = layouts(request(), map_of({8, 8}, 30e-6, 1.2e9));
  EXPECT_GT(small.front().missing_bytes, 5 * kGib);
  MachineMap map = map_of({32, 32, 32}, 30e-6, 1.2e9);
  map.links[2][1].problem = "no answer in time";
  const std::vector<Layout> found = layouts(request(), map);
  EXPECT_THAT(found.front().machines, ElementsAre(0, 1));
  EXPECT_EQ(found.back().problem, "machines 1 and 2 cannot talk: no answer in time");
  EXPECT_THAT(layout_text(found, map, "M"), HasSubstr("machines 1 and 2 cannot talk"));
  EXPECT_THAT(oddities(map), ElementsAre(HasSubstr("machine 2 does not reach machine 1")));
}

TEST(MachineMap, IsReadAsItIsWritten) {
  MachineMap map = map_of({32, 64}, 30e-6, 1.2e9);
  map.links[1][0] = {1e-4, 1e8, {}};
  const MachineMap same = MachineMap::parse(map.to_json(), "map");
  EXPECT_EQ(same.to_json(), map.to_json());
  EXPECT_TRUE(same.is_whole());
  EXPECT_THAT(oddities(same), ElementsAre(HasSubstr("machine 1 sends to machine 0 at 100 MB/s")));
  Json broken = map.to_json();
  broken["links"][0]["to"] = 7;
  EXPECT_THAT(error_of([&] { (void)MachineMap::parse(broken, "map"); }), HasSubstr("map: to:"));
  broken = map.to_json();
  broken["machines"][1]["memory_bytes"] = -1;
  EXPECT_THAT(error_of([&] { (void)MachineMap::parse(broken, "map"); }),
              HasSubstr("memory_bytes: expected a number above 0"));
  EXPECT_THAT(error_of([] { (void)MachineMap::parse(Json::array(), "map"); }),
              HasSubstr("is it of quern net-check?"));
}

}  // namespace
}  // namespace quern
