// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampling_params.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kVocab = 100;

std::string complaint(const std::function<void(SamplingParams&)>& change) {
  SamplingParams params;
  change(params);
  try {
    params.validate(kVocab);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
  return "";
}

TEST(SamplingParams, TakesTheBordersOfEachField) {
  EXPECT_EQ(complaint([](auto&) {}), "");
  EXPECT_EQ(complaint([](auto& p) { p.temperature = 0; }), "");
  EXPECT_EQ(complaint([](auto& p) { p.top_k = -1; }), "");
  EXPECT_EQ(complaint([](auto& p) { p.min_tokens = 16; }), "");
  EXPECT_EQ(complaint([](auto& p) { p.presence_penalty = p.frequency_penalty = -2; }), "");
  EXPECT_EQ(complaint([](auto& p) { p.stop_token_ids = {0, 99}; }), "");
  EXPECT_EQ(complaint([](auto& p) { p.logit_bias = {{99, -100.0f}}; }), "");
}

TEST(SamplingParams, NamesTheFieldThatIsOutOfBounds) {
  const std::pair<const char*, std::function<void(SamplingParams&)>> cases[] = {
      {"temperature", [](auto& p) { p.temperature = -0.1; }},
      {"temperature", [](auto& p) { p.temperature = NAN; }},
      {"temperature", [](auto& p) { p.temperature = INFINITY; }},
      {"top_p", [](auto& p) { p.top_p = 0; }},
      {"top_p", [](auto& p) { p.top_p = 1.01; }},
      {"top_k", [](auto& p) { p.top_k = -2; }},
      {"min_p", [](auto& p) { p.min_p = 1.5; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0; }},
      {"presence_penalty", [](auto& p) { p.presence_penalty = 2.5; }},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = -3; }},
      {"max_tokens", [](auto& p) { p.max_tokens = 0; }},
      {"min_tokens", [](auto& p) { p.min_tokens = 17; }},
      {"logprobs", [](auto& p) { p.logprobs = 101; }},
      {"stop_token_ids", [](auto& p) { p.stop_token_ids = {100}; }},
      {"allowed_token_ids", [](auto& p) { p.allowed_token_ids = {-1}; }},
      {"bad_words", [](auto& p) { p.bad_words = {{}}; }},
      {"bad_words",
       [](auto& p) {
         p.bad_words = {{1, 100}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{100, 0.0f}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias = {{1, NAN}};
       }},
      {"logit_bias",
       [](auto& p) {
         p.logit_bias.assign(101, {1, 0.0f});
       }},
  };
  for (const auto& [field, change] : cases)
    EXPECT_EQ(complaint(change).rfind(field, 0), 0u) << field << ": " << complaint(change);
}

}  // namespace
}  // namespace quern
