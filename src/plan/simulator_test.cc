// SPDX-License-Identifier: Apache-2.0
#include "plan/simulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"

namespace quern {
namespace {

SimulationOptions options_of(const StepCost& cost) {
  SimulationOptions o;
  o.cost = cost;
  o.engine.num_blocks = 1000;
  o.engine.max_model_len = 4096;
  o.engine.max_num_seqs = 8;
  o.engine.max_num_batched_tokens = 512;
  return o;
}

TEST(StepCost, FindsTheTermsOfWhatItIsFittedTo) {
  const StepCost truth({0.010, 0.002, 0.0005, 0.0001, 1e-6, 1e-8});
  std::mt19937 random(1);
  std::vector<TimedStep> steps;
  for (int i = 0; i < 200; ++i) {
    StepShape shape{.sequences = static_cast<int64_t>(random() % 16),
                    .prefill_tokens = i % 3 == 0 ? static_cast<int64_t>(random() % 500) : 0,
                    .attended = static_cast<int64_t>(random() % 10'000),
                    .prefill_attended = i % 3 == 0 ? static_cast<int64_t>(random() % 100'000) : 0};
    steps.push_back({shape, truth.seconds(shape)});
  }
  const StepCost found = StepCost::fit(steps);
  for (size_t i = 0; i < StepCost::kTerms; ++i)
    EXPECT_NEAR(found.terms()[i], truth.terms()[i], 1e-3 * truth.terms()[i]);
  EXPECT_LT(found.error(steps), 1e-6);
  steps.resize(5);
  EXPECT_THROW(StepCost::fit(steps), Error);
}

TEST(StepCost, ExpertsAreReadOnceAStep) {
  const StepCost cost({0.001, 0, 0, 0, 0, 0},
                      {.products_s = 0.0001, .experts_s = 0.1, .chosen = 0.02});
  EXPECT_NEAR(cost.seconds({.sequences = 1}), 0.001 + 0.002, 1e-12);
  EXPECT_NEAR(cost.seconds({.sequences = 16}), 0.001 + 0.1 * (1 - std::pow(0.98, 16)), 1e-12);
  EXPECT_NEAR(cost.seconds({.sequences = 500, .prefill_tokens = 1500}), 0.2, 1e-12);
}

TEST(StepCost, HasNoNegativeTerms) {
  std::vector<TimedStep> steps;
  for (int i = 1; i <= 40; ++i)  // shorter with more sequences, as no machine is
    steps.push_back(
        {{.sequences = i, .prefill_tokens = 0, .attended = 0, .prefill_attended = 0}, 1.0 / i});
  const StepCost found = StepCost::fit(steps);
  for (const double term : found.terms()) EXPECT_GE(term, 0);
}

TEST(StepCost, ReadsWhatServersLog) {
  const auto steps = read_step_log("names\n1,0,17,0,2500\n0,512,0,131328,90000\n", "log");
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[1].shape.prefill_tokens, 512);
  EXPECT_DOUBLE_EQ(steps[0].seconds, 0.0025);
  EXPECT_THROW(read_step_log("names\n1,2,3,4\n", "log"), Error);
  EXPECT_THROW(read_step_log("names\n1,2,x,4,5\n", "log"), Error);
}

TEST(Simulator, OneRequestTakesItsSteps) {
  SimulationOptions o = options_of(StepCost({0.010, 0, 0, 0.001, 0, 0}));
  o.request_s = 0.5;
  const SimulationResult r = simulate(o, {{.at_s = 1, .input_tokens = 1000, .output_tokens = 5}});
  // 512 tokens, 488 of which the last gives a token, and four tokens more.
  EXPECT_EQ(r.steps, 6);
  EXPECT_NEAR(r.answers[0].first_s, 1 + 2 * 0.010 + 0.999 + 0.5, 1e-9);
  EXPECT_NEAR(r.answers[0].end_s - r.answers[0].first_s, 4 * 0.010, 1e-9);
}

TEST(Simulator, ReplicasShareTheLoad) {
  SimulationOptions o = options_of(StepCost({0.010, 0, 0.010, 0, 0, 0}));
  std::vector<SimulatedRequest> requests(64, {.at_s = 0, .input_tokens = 10, .output_tokens = 20});
  const double alone = simulate(o, requests).duration_s;
  o.replicas = 4;
  const SimulationResult r = simulate(o, requests);
  EXPECT_LT(r.duration_s, 0.3 * alone);
  EXPECT_GT(r.busy_share, 0.95);
}

TEST(Simulator, AFullCacheSetsBack) {
  SimulationOptions o = options_of(StepCost({0.010, 0, 0, 0, 0, 0}));
  o.engine.num_blocks = 20;  // 320 tokens
  const SimulationResult r = simulate(
      o, std::vector<SimulatedRequest>(4, {.at_s = 0, .input_tokens = 60, .output_tokens = 120}));
  EXPECT_GT(r.preemptions, 0);
  EXPECT_DOUBLE_EQ(r.most_blocks_share, 1);
  for (const SimulatedAnswer& answer : r.answers) EXPECT_EQ(answer.output_tokens, 120);
  EXPECT_THROW(simulate(o, {{.at_s = 0, .input_tokens = 300, .output_tokens = 100}}), Error);
}

TEST(Simulator, ASharedPrefixIsComputedOnce) {
  SimulationOptions o = options_of(StepCost({0, 0, 0, 0.001, 0, 0}));
  std::vector<SimulatedRequest> requests;
  for (int i = 0; i < 4; ++i)
    requests.push_back({.at_s = 10.0 * i,
                        .input_tokens = 400,
                        .output_tokens = 2,
                        .prefix_tokens = 320,
                        .prefix = 7});
  const SimulationResult r = simulate(o, requests);
  EXPECT_EQ(r.cached_tokens, 3 * 320);
  EXPECT_NEAR(r.answers[0].first_s - r.answers[0].at_s, 0.399, 1e-9);
  EXPECT_NEAR(r.answers[3].first_s - r.answers[3].at_s, 0.079, 1e-9);
}

TEST(Simulator, LossesCostTimeAndNoAnswer) {
  SimulationOptions o = options_of(StepCost({0.010, 0, 0, 0.001, 0, 0}));
  std::vector<SimulatedRequest> requests;
  for (int i = 0; i < 50; ++i)
    requests.push_back({.at_s = 0.5 * i, .input_tokens = 50, .output_tokens = 50});
  const double calm = simulate(o, requests).duration_s;
  o.failure_s = 3;
  o.recovery_s = 1;
  const SimulationResult r = simulate(o, requests);
  EXPECT_GT(r.failures, 2);
  EXPECT_GT(r.duration_s, calm);
  for (const SimulatedAnswer& answer : r.answers) EXPECT_EQ(answer.output_tokens, 50);
  EXPECT_EQ(simulate(o, requests).duration_s, r.duration_s);  // the seed decides
}

}  // namespace
}  // namespace quern
