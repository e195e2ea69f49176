// SPDX-License-Identifier: Apache-2.0
#include "scheduling_options.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace quern {
namespace {

SchedulingOptions parsed(const std::string& arguments) {
  CLI::App app;
  SchedulingOptions options;
  add_scheduling_options(app, options);
  app.parse(arguments, false);
  return options;
}

std::string refusal(const std::string& json) {
  try {
    parse_speculation(json);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(SchedulingOptions, BecomeTheEnginesConfig) {
  EngineConfig config;
  parsed(
      "--scheduling-policy priority --long-prefill-token-threshold 1k --max-num-queued-reqs 7 "
      "--request-timeout 9 --step-timeout 0")
      .apply(config);
  EXPECT_TRUE(config.has_priorities);
  EXPECT_EQ(config.long_prefill_token_threshold, 1000);
  EXPECT_EQ(config.max_queue, 7);
  EXPECT_EQ(config.request_timeout_us, 9'000'000);
  EXPECT_EQ(config.step_timeout_us, 0);
  EXPECT_EQ(config.speculation.tokens, 0);
  parsed("").apply(config);
  EXPECT_FALSE(config.has_priorities);
  EXPECT_EQ(config.step_timeout_us, 1'800'000'000);
  EXPECT_THROW(parsed("--scheduling-policy lifo"), CLI::ParseError);
}

TEST(SchedulingOptions, SpeculationInBothForms) {
  const SpeculationConfig s = parse_speculation(
      R"({"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3, "prompt_lookup_min": 1})");
  EXPECT_EQ(s.tokens, 4);
  EXPECT_EQ(s.lookup_max, 3);
  EXPECT_EQ(s.lookup_min, 1);
  EXPECT_EQ(parse_speculation(R"({"num_speculative_tokens": 2})").lookup_min, 5);
  EXPECT_EQ(
      parse_speculation(R"({"num_speculative_tokens": 2, "prompt_lookup_max": 3})").lookup_min, 3);
  const SchedulingOptions dotted = parsed(
      "--speculative-config.method ngram --speculative-config.num-speculative-tokens 6 "
      "--speculative-config.prompt-lookup-min 2");
  EXPECT_EQ(dotted.speculation.tokens, 6);
  EXPECT_EQ(dotted.speculation.lookup_min, 2);
}

TEST(SchedulingOptions, SpeculationNamesWhatIsWrong) {
  EXPECT_NE(refusal(R"({"method": "eagle", "num_speculative_tokens": 2})").find("method"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"num_speculative_tokens": 99})").find("num_speculative_tokens"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"num_speculative_tokens": "two"})").find("whole number"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"num_speculative_tokens": 2, "modle": 1})").find("modle"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"method": "ngram"})").find("num_speculative_tokens"), std::string::npos);
  EXPECT_NE(refusal("ngram").find("--speculative-config"), std::string::npos);
  EXPECT_NE(
      refusal(R"({"num_speculative_tokens": 2, "prompt_lookup_max": 2, "prompt_lookup_min": 3})")
          .find("prompt_lookup_min"),
      std::string::npos);
}

}  // namespace
}  // namespace quern
