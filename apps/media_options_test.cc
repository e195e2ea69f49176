// SPDX-License-Identifier: Apache-2.0
#include "media_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace quern {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::array<int, 3> counts_of(std::string_view text) {
  std::array<int, 3> counts = {32, 32, 32};
  read_media_counts(text, counts);
  return counts;
}

std::string error_of(std::string_view text) {
  try {
    counts_of(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
  return "no error";
}

MediaOptions parsed(std::vector<std::string> arguments) {
  CLI::App app;
  MediaOptions options;
  add_media_options(app, options);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return options;
}

TEST(MediaCounts, AreReadInEveryForm) {
  EXPECT_THAT(counts_of("7"), ElementsAre(7, 7, 7));
  EXPECT_THAT(counts_of("image=4,video=1"), ElementsAre(4, 1, 32));
  EXPECT_THAT(counts_of("image=4"), ElementsAre(4, 32, 32));
  EXPECT_THAT(counts_of(R"({"image": 4, "video": 1, "audio": 0})"), ElementsAre(4, 1, 0));
  EXPECT_THAT(counts_of(R"( {"video": {"count": 2}})"), ElementsAre(32, 2, 32));
  EXPECT_THAT(counts_of("{}"), ElementsAre(32, 32, 32));
}

TEST(MediaCounts, SayWhatIsWrong) {
  EXPECT_THAT(error_of(R"({"images": 4})"),
              HasSubstr("images: no such kind of media; expected im"));
  EXPECT_THAT(error_of("pictures=4"), HasSubstr("pictures: no such kind"));
  EXPECT_THAT(error_of(R"({"image": {"count": 1, "width": 512}})"),
              HasSubstr("image: width: not supported: memory is planned for the largest"));
  EXPECT_THAT(error_of(R"({"image": {}})"), HasSubstr("image: expected a count"));
  for (const char* text : {"",
                           "four",
                           "image=",
                           "image=4;video=1",
                           "-1",
                           "99999",
                           "image=-1",
                           R"({"image": 1.5})",
                           R"({"image": "4"})",
                           R"({"image": 5000})",
                           R"({"image": )",
                           R"([4])"})
    EXPECT_THAT(error_of(text), HasSubstr("--limit-mm-per-prompt")) << text;
}

TEST(MediaOptions, FlagsMeet) {
  const MediaOptions o = parsed({"--limit-mm-per-prompt",
                                 "{\"image\": 4}",
                                 "--limit-mm-per-prompt.video",
                                 "2",
                                 "--mm-processor-kwargs",
                                 "{\"max_pixels\": 100352}",
                                 "--mm-processor-kwargs.fps",
                                 "0.5",
                                 "--mm-processor-cache-gb",
                                 "0",
                                 "--media-decode-timeout",
                                 "5"});
  EXPECT_THAT(o.limits.max_per_prompt, ElementsAre(4, 2, 32));
  EXPECT_EQ(o.processor.max_pixels, 100352);
  EXPECT_EQ(o.processor.fps, 0.5);
  EXPECT_EQ(o.cache_gb, 0);
  EXPECT_EQ(o.decode_timeout_s, 5);
  EXPECT_EQ(o.decoder, "in-process");
  EXPECT_THROW(parsed({"--mm-processor-kwargs", "{\"max_pixel\": 1}"}), Error);
  EXPECT_THROW(parsed({"--media-decoder", "thread"}), CLI::ParseError);
  EXPECT_THROW(parsed({"--mm-processor-kwargs.max-pixels", "0"}), CLI::ParseError);
}

}  // namespace
}  // namespace quern
