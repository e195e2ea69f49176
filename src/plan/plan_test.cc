// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/deployment.h"
#include "plan/report.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kConfigs = std::string(QUERN_SOURCE_DIR) + "/tests/data/configs/";

PlanRequest request(const std::string& config, const std::string& device) {
  PlanRequest q;
  q.subjects.checkpoint =
      shapes_only_checkpoint(Config::read(kConfigs + config + "/config.json"), {});
  q.subjects.isa = Isa::avx512_bf16;
  q.subjects.config.max_num_seqs = 16;
  q.axes = axes_of(q.subjects);
  q.device = parse_device(device);
  q.degrees.tensor = q.device.count;
  return q;
}

std::vector<int64_t> groups_of(const Deployment& d) {
  std::vector<int64_t> out;
  for (const RankPlan& r : d.ranks) out.push_back(r.ffn / r.ffn_granule);
  return out;
}

const std::string kOdd = "qwen2-vl-72b-instruct-awq-29568", kPadded = "qwen2-vl-72b-instruct-awq";

TEST(Plan, DealsTheArticlesGroupsOutWhole) {
  EXPECT_THAT(groups_of(plan_deployment(request(kOdd, "2x a100-80g"))), ElementsAre(116, 115));
  EXPECT_THAT(groups_of(plan_deployment(request(kOdd, "3x a100-80g"))), ElementsAre(77, 77, 77));
  EXPECT_THAT(groups_of(plan_deployment(request(kOdd, "7x a100-80g"))),
              ElementsAre(33, 33, 33, 33, 33, 33, 33));
  EXPECT_THAT(groups_of(plan_deployment(request(kPadded, "4x a100-80g"))),
              ElementsAre(58, 58, 58, 58));
}

// 594 GB as stored, nibbles beside scales of 2 bytes; a token reads 8 of 384 experts.
TEST(Plan, CountsExpertsAndWhatATokenReadsOfThem) {
  const PlanRequest one = request("kimi-k2-thinking", "8x h100");
  EXPECT_EQ(one.axes.experts, 384);
  EXPECT_EQ(one.axes.heads, 64);
  const Deployment d = plan_deployment(one);
  int64_t weights = 0, experts = 0, read = 0;
  for (const RankPlan& r : d.ranks) {
    weights += r.bytes.weights(), experts += r.bytes.experts, read += r.read_bytes;
    EXPECT_EQ(r.heads, 8);
    EXPECT_EQ(r.experts, 384);  // 2048 units are shared out evenly inside
    EXPECT_EQ(r.expert_ffn, 256);
    EXPECT_EQ(r.bytes.kv_per_token, 70272);
  }
  EXPECT_NEAR(static_cast<double>(experts) * 1e-9, 570.8, 12);
  EXPECT_GT(weights, experts + 20'000'000'000);
  // One rank would read 33.0 GB; q_a_proj, kv_a_proj_with_mqa and routers are read by each.
  EXPECT_NEAR(static_cast<double>(read) * 1e-9, 33.0 + 7 * 2.18, 0.5);
  EXPECT_EQ(d.ranks[0].meetings, 2 * 61 + 2);
  EXPECT_EQ(plan_deployment(request("kimi-k2-thinking", "7x h100")).ranks[0].experts, 55);
}

// 109.9 GB as stored (FP8 with a scale for each row; tables, router and tower in bf16), of which
// the tower's float32 norms and packed panels make little more.
TEST(Plan, WeighsAnFp8ModelWithExpertsAndATower) {
  const Deployment one = plan_deployment(request("glm-4.6v-fp8", "8x h100"));
  int64_t weights = 0;
  for (const RankPlan& r : one.ranks) {
    weights += r.bytes.weights();
    EXPECT_EQ(r.heads, 12);
    EXPECT_EQ(r.experts, 16);  // 1408 units are 11 granules of 128: whole experts are more even
    EXPECT_GT(r.bytes.tower, 0);
  }
  EXPECT_GT(weights, int64_t{102} << 30);
  EXPECT_LT(weights, int64_t{104} << 30);
  EXPECT_EQ(plan_deployment(request("glm-4.6v-fp8", "16x h100")).ranks[0].expert_ffn, 88);
}

TEST(Plan, NamesWhatOthersRefuse) {
  const ModelAxes odd = request(kOdd, "a100-80g").axes;
  EXPECT_EQ(odd.group, 128);
  EXPECT_THAT(peer_refusals(odd, 2),
              ElementsAre(HasSubstr("input_size_per_partition = 14784 is not divisible by "
                                    "min_thread_k = 128 (115 groups and 64)")));
  EXPECT_THAT(peer_refusals(odd, 3),
              ElementsAre(HasSubstr("64 attention heads, 8 KV heads: not divisible by 3")));
  const ModelAxes padded = request(kPadded, "a100-80g").axes;
  EXPECT_THAT(peer_refusals(padded, 2), IsEmpty());
  EXPECT_THAT(peer_refusals(padded, 8), IsEmpty());
}

TEST(Plan, RanksTogetherWeighWhatOneDoes) {
  const Deployment one = plan_deployment(request(kOdd, "a100-80g"));
  const int64_t whole = one.ranks.front().bytes.weights();
  // 72.7 billion parameters, of which 1.2 and 1.2 in table and head and 0.7 in the tower keep 16
  // bits.
  EXPECT_GT(whole, int64_t{40} << 30);
  EXPECT_LT(whole, int64_t{44} << 30);
  for (const char* device : {"2x a100-80g", "7x a100-80g"}) {
    int64_t sum = 0;
    for (const RankPlan& r : plan_deployment(request(kOdd, device)).ranks) sum += r.bytes.weights();
    EXPECT_GE(sum, whole);
    EXPECT_LT(sum, whole + whole / 50) << device;
  }
}

TEST(Plan, SaysWhatWouldFit) {
  PlanRequest q = request(kOdd, "2x rtx3090");
  q.subjects.config.max_model_len = 32768;
  const Deployment d = plan_deployment(q);
  EXPECT_FALSE(d.fits());
  const std::string change = remedy(q);
  EXPECT_FALSE(change.empty());
  EXPECT_THAT(report_text(q, d, {}, change), HasSubstr(change));
  q.device = parse_device("4x a100-80g");
  q.degrees.tensor = 4;
  EXPECT_TRUE(plan_deployment(q).fits());
}

TEST(Plan, RanksOfOneMachineShareItsMemoryAsTheyShareTheWeights) {
  PlanRequest q = request(kOdd, "3x a100-80g");
  q.degrees.proportions = {2, 1, 1};
  q.subjects.config.max_model_len = 1024;
  q.device.memory_bytes = int64_t{20} << 30;
  EXPECT_FALSE(plan_deployment(q).fits());  // rank 0 holds half of 40 GiB
  q.device.memory_bytes *= 3;
  q.device.is_shared = true;
  EXPECT_TRUE(plan_deployment(q).fits());
  q.device.memory_bytes /= 2;
  EXPECT_FALSE(plan_deployment(q).fits());
  EXPECT_EQ(remedy(q), "");
}

// 594 GB on a machine of 64: what is not expert lies in memory, 16 GiB or so, then as many experts
// as fit beside one sequence.
TEST(Plan, LeavesExpertsInTheFileWhereTheyDoNotFit) {
  PlanRequest q = request("kimi-k2-thinking", "h100");
  EXPECT_FALSE(plan_deployment(q).fits());  // a card has no file to read from
  q.device.memory_bytes = int64_t{64} << 30;
  q.device.is_shared = true;
  q.device.disk_bytes_per_s = 2e9;
  q.subjects.config.max_model_len = 4096;
  const Deployment d = plan_deployment(q);
  EXPECT_TRUE(d.fits());
  const RankBytes& b = d.ranks[0].bytes;
  EXPECT_GT(b.experts, int64_t{20} << 30);
  EXPECT_NEAR(static_cast<double>(b.experts + b.experts_in_file) * 1e-9, 570.8, 12);
  EXPECT_EQ(b.fixed() + 4096 * b.kv_per_token, d.budget_bytes);
  // 8 of 384 experts, less those that are held.
  const auto all = static_cast<double>(b.experts + b.experts_in_file);
  EXPECT_NEAR(d.file_bytes_per_token(), static_cast<double>(b.experts_in_file) / 48, all * 1e-6);
  EXPECT_LT(d.decode_tokens_per_s, 2e9 / d.file_bytes_per_token());
  EXPECT_GT(d.decode_tokens_per_s, 0.9 * 2e9 / d.file_bytes_per_token());
  EXPECT_THAT(report_text(q, d, {}, ""), HasSubstr("the others stay in the file"));

  q.most_expert_bytes = int64_t{1} << 30;
  EXPECT_EQ(plan_deployment(q).experts_held(), q.most_expert_bytes);
  q.may_leave_experts = false;
  EXPECT_FALSE(plan_deployment(q).fits());
}

TEST(Plan, CountsWhereRanksMeet) {
  const Deployment d = plan_deployment(request(kOdd, "2x a100-80g"));
  // After attention and MLP of each layer, the table, and the logits' gathering.
  EXPECT_EQ(d.ranks[0].meetings, 2 * 80 + 2);
  EXPECT_GT(d.decode_tokens_per_s, 0);
}

TEST(Plan, ReadsDevices) {
  EXPECT_EQ(parse_device("4x a100-80g").count, 4);
  EXPECT_EQ(parse_device("rtx3090").count, 1);
  EXPECT_EQ(parse_device("8xh100").name, "h100");
  EXPECT_THROW(parse_device("2x abacus"), Error);
  EXPECT_THROW(parse_device("0x h100"), Error);
}

}  // namespace
}  // namespace quern
