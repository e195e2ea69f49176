// SPDX-License-Identifier: Apache-2.0
#include "prompt/processor_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {
namespace {

using testing::HasSubstr;

std::string error_of(const char* text) {
  try {
    ProcessorOptions::parse(parse_json(text, "test"), "mm_processor_kwargs");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << text;
    return e.what();
  }
  return "no error";
}

ProcessorOptions parsed(const char* text) {
  return ProcessorOptions::parse(parse_json(text, "test"), "mm_processor_kwargs");
}

TEST(ProcessorOptions, ReadsEveryName) {
  EXPECT_EQ(parsed("{}"), ProcessorOptions());
  EXPECT_EQ(parsed(R"({"min_pixels": 3136, "max_pixels": 1003520, "fps": null})"),
            (ProcessorOptions{.min_pixels = 3136, .max_pixels = 1003520}));
  EXPECT_EQ(parsed(R"({"size": {"shortest_edge": 3136, "longest_edge": 1003520}})"),
            (ProcessorOptions{.min_pixels = 3136, .max_pixels = 1003520}));
  EXPECT_EQ(parsed(R"({"fps": 0.5, "min_frames": 2, "max_frames": 16})"),
            (ProcessorOptions{.fps = 0.5, .min_frames = 2, .max_frames = 16}));
  EXPECT_EQ(parsed(R"({"num_frames": 8.0})").num_frames, 8);
}

TEST(ProcessorOptions, AnUnknownKeyIsToldWithTheNearest) {
  EXPECT_THAT(
      error_of(R"({"max_pixel": 5})"),
      HasSubstr("mm_processor_kwargs: max_pixel: no such option; did you mean max_pixels?"));
  EXPECT_THAT(error_of(R"({"num_crops": 4})"), HasSubstr("num_crops: no such option"));
  EXPECT_THAT(error_of(R"({"size": {"height": 4}})"), HasSubstr("size: height: expected shortest"));
}

TEST(ProcessorOptions, ValuesAreJudged) {
  for (const char* text : {R"({"max_pixels": 0})",
                           R"({"max_pixels": -1})",
                           R"({"max_pixels": "many"})",
                           R"({"max_pixels": 1.5})",
                           R"({"max_pixels": 1e300})",
                           R"({"min_pixels": 100, "max_pixels": 99})",
                           R"({"max_pixels": 100, "size": {"longest_edge": 99}})",
                           R"({"size": 5})",
                           R"({"fps": 0})",
                           R"({"fps": 1, "num_frames": 4})",
                           R"({"min_frames": 5, "max_frames": 4})",
                           R"([])"})
    EXPECT_NE(error_of(text), "no error") << text;
}

TEST(ProcessorOptions, TwoAreAsTightAsTheTighter) {
  const ProcessorOptions a{.min_pixels = 10, .max_pixels = 100, .fps = 2, .max_frames = 16};
  const ProcessorOptions both = a.narrowed_by({.min_pixels = 5, .max_pixels = 50, .num_frames = 4});
  EXPECT_EQ(
      both,
      (ProcessorOptions{.min_pixels = 10, .max_pixels = 50, .num_frames = 4, .max_frames = 16}));
  EXPECT_EQ(a.narrowed_by({}), a);
}

}  // namespace
}  // namespace quern
