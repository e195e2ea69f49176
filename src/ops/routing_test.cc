// SPDX-License-Identifier: Apache-2.0
#include "ops/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/heads.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

using ::testing::ElementsAre;

Routing route_one(const std::vector<float>& logits,
                  const std::vector<float>& bias,
                  const RoutingRule& rule) {
  Machine m(Isa::scalar);
  const auto count = static_cast<int64_t>(logits.size());
  return route(m.ctx,
               Tensor::from(logits, {1, count}),
               bias.empty() ? Tensor() : Tensor::from(bias, {count}),
               rule);
}

float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

// The bias chooses and does not weigh.
TEST(Routing, TheBiasSteersTheChoiceAlone) {
  const Routing r =
      route_one({4, 3, 2, 1}, {-10, 0, 0, 10}, {.top_k = 2, .group_best = 2, .scale = 2.827f});
  EXPECT_THAT(r.experts, ElementsAre(1, 3));
  const float sum = sigmoid(3) + sigmoid(1);
  EXPECT_NEAR(r.weights[0], sigmoid(3) / sum * 2.827f, 1e-6);
  EXPECT_NEAR(r.weights[1], sigmoid(1) / sum * 2.827f, 1e-6);
}

TEST(Routing, SoftmaxWithoutNormalizing) {
  const Routing r =
      route_one({0, 2, 1}, {}, {.scoring = Scoring::softmax, .top_k = 2, .normalizes = false});
  const float sum = 1 + std::exp(2.0f) + std::exp(1.0f);
  EXPECT_THAT(r.experts, ElementsAre(1, 2));
  EXPECT_NEAR(r.weights[0], std::exp(2.0f) / sum, 1e-6);
  EXPECT_NEAR(r.weights[1], std::exp(1.0f) / sum, 1e-6);
}

// The best expert stands in a group whose two best are worth less than those of another.
TEST(Routing, AGroupIsAsGoodAsItsTwoBest) {
  const std::vector<float> logits = {9, -9, -9, 2, 2, -9, -9, -9, -9};
  RoutingRule rule{.top_k = 2, .groups = 3, .kept_groups = 1};
  EXPECT_THAT(route_one(logits, {}, rule).experts, ElementsAre(3, 4));
  rule.group_best = 1;
  EXPECT_THAT(route_one(logits, {}, rule).experts, ElementsAre(0, 1));
  rule.kept_groups = 2, rule.top_k = 3;
  EXPECT_THAT(route_one(logits, {}, rule).experts, ElementsAre(0, 3, 4));
}

TEST(Routing, OfEqualsTheFirst) {
  EXPECT_THAT(route_one({1, 1, 1, 1, 1}, {}, {.top_k = 3}).experts, ElementsAre(0, 1, 2));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Routing r = route_one({nan, nan, nan}, {}, {.top_k = 2});
  EXPECT_THAT(r.experts, ElementsAre(0, 1));
  EXPECT_TRUE(std::isnan(r.weights[0]));
}

// By sorting, in double.
TEST(Routing, AgreesWithSorting) {
  for (const int64_t experts : {1, 8, 96, 384}) {
    const int64_t k = std::min<int64_t>(experts, 5), count = 70;
    const Tensor logits = random_tensor({count, experts}, 3),
                 bias = random_tensor({experts}, 4, 0.2f);
    for (const int threads : {1, 3}) {
      Machine m(Isa::scalar, threads);
      const Routing r = route(m.ctx, logits, bias, {.top_k = k, .scale = 2.5f});
      for (int64_t t = 0; t < count; ++t) {
        const auto score = [&](int64_t e) {
          return sigmoid(logits.data<float>()[t * experts + e]);
        };
        std::vector<int32_t> order(static_cast<size_t>(experts));
        std::iota(order.begin(), order.end(), 0);
        std::ranges::stable_sort(order, [&](int32_t a, int32_t b) {
          return score(a) + bias.data<float>()[a] > score(b) + bias.data<float>()[b];
        });
        std::sort(order.begin(), order.begin() + k);
        float sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += score(order[static_cast<size_t>(i)]);
        for (int64_t i = 0; i < k; ++i) {
          const auto at = static_cast<size_t>(t * k + i);
          ASSERT_EQ(r.experts[at], order[static_cast<size_t>(i)]) << experts << " token " << t;
          ASSERT_NEAR(r.weights[at], 2.5f * score(r.experts[at]) / sum, 1e-5);
        }
      }
    }
  }
}

TEST(Routing, SortsTokensByExpertAndAddsThemBack) {
  const Routing routing{2, {0, 3, 1, 3, 0, 1}, {0.5f, 2, 4, 8, 16, 32}};
  const std::vector<ExpertRows> rows = rows_by_expert(routing, 1, 3);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_THAT(rows[0].tokens, ElementsAre(1, 2));
  EXPECT_THAT(rows[0].weights, ElementsAre(4, 32));
  EXPECT_THAT(rows[1].tokens, ElementsAre());
  EXPECT_THAT(rows[2].tokens, ElementsAre(0, 1));
  Machine m(Isa::scalar);
  Tensor y = Tensor::from(std::vector<float>{1, 1, 2, 2, 3, 3}, {3, 2});
  add_weighted_rows_(m.ctx, y, Tensor::from(std::vector<float>{1, 0, 0, 1}, {2, 2}), rows[0]);
  EXPECT_THAT(std::vector<float>(y.data<float>(), y.data<float>() + 6),
              ElementsAre(1, 1, 6, 2, 3, 35));
}

// Every head has the bits of a product of its own.
TEST(Heads, ProductsHeadByHead) {
  for (const Isa isa : all_tiers())
    for (const int64_t count : {0, 1, 5, 40}) {
      Machine one(isa, 1), three(isa, 3);
      const int64_t heads = 5, k = 37, n = 21;
      const Tensor x = random_tensor({count, heads, k + 3}, 1).slice(2, 3, k + 3);
      std::vector<std::unique_ptr<PackedWeight>> weights;
      for (uint32_t h = 0; h < heads; ++h) {
        QuantMatrix w;
        w.codes = random_tensor({n, k}, 10 + h);
        weights.push_back(pack_weight(one.ctx, {w}));
      }
      Tensor whole = Tensor::zeros({count, heads, n + 2}, DType::f32), y = whole.slice(2, 2, n + 2);
      matmul_heads_(three.ctx, x, weights, y);
      for (int64_t h = 0; h < heads; ++h)
        EXPECT_TRUE(same_bits(y.select(1, h),
                              matmul(one.ctx, x.select(1, h), *weights[static_cast<size_t>(h)])))
            << name_of(isa) << " head " << h << " of " << count << " rows";
      Tensor copy = Tensor::zeros({count, heads, n}, DType::f32);
      copy_heads_(three.ctx, copy, y);
      EXPECT_TRUE(same_bits(copy, y));
    }
}

}  // namespace
}  // namespace quern::ops
