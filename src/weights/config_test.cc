// SPDX-License-Identifier: Apache-2.0
#include "weights/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string message_of(const auto& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

const char* const kText =
    R"({"hidden_size": 128, "rms_norm_eps": 1e-6, "tie": true, "type": "qwen2", "none": null,
  "eos": [1, 2], "bos": 7, "archs": ["A", "B"], "theta": 10000.0, "huge": 18446744073709551615,
  "text_config": {"hidden_size": 64}})";

TEST(Config, TypedGetters) {
  const Config c = Config::parse(kText, "config.json");
  EXPECT_EQ(c.integer("hidden_size"), 128);
  EXPECT_EQ(c.integer("theta"), 10000);
  EXPECT_DOUBLE_EQ(c.number("rms_norm_eps"), 1e-6);
  EXPECT_DOUBLE_EQ(c.number("hidden_size"), 128);
  EXPECT_TRUE(c.boolean("tie"));
  EXPECT_EQ(c.string("type"), "qwen2");
  EXPECT_THAT(c.integers("eos"), ElementsAre(1, 2));
  EXPECT_THAT(c.integers("bos"), ElementsAre(7));
  EXPECT_THAT(c.strings("archs"), ElementsAre("A", "B"));
  EXPECT_THAT(c.numbers("eos"), ElementsAre(1.0, 2.0));
  EXPECT_THROW(c.numbers("bos"), Error);
  EXPECT_THROW(c.numbers("archs"), Error);
}

TEST(Config, FallbacksServeAbsentAndNullOnly) {
  const Config c = Config::parse(kText, "config.json");
  EXPECT_FALSE(c.has("none"));
  EXPECT_EQ(c.integer_or("none", 5), 5);
  EXPECT_EQ(c.integer_or("absent", -1), -1);
  EXPECT_DOUBLE_EQ(c.number_or("absent", 0.5), 0.5);
  EXPECT_EQ(c.string_or("absent", "x"), "x");
  EXPECT_TRUE(c.boolean_or("absent", true));
  EXPECT_THROW(c.integer_or("type", 5), Error);
}

TEST(Config, NestedPartsNameTheirPath) {
  const Config c = Config::parse(kText, "config.json");
  EXPECT_EQ(c.sub("text_config").integer("hidden_size"), 64);
  EXPECT_EQ(c.sub_or_self("vision_config").integer("hidden_size"), 128);
  EXPECT_FALSE(c.find("vision_config").has_value());
  EXPECT_THAT(message_of([&] { c.sub("text_config").integer("layers"); }),
              HasSubstr("config.json: text_config: key layers is missing: expected an integer"));
}

TEST(Config, ErrorsNameKeyAndExpectation) {
  const Config c = Config::parse(kText, "config.json");
  EXPECT_THAT(message_of([&] { c.integer("type"); }),
              HasSubstr("key type: expected an integer, got string"));
  EXPECT_THAT(message_of([&] { c.integer("hidden_size", 1, 64); }),
              HasSubstr("expected 1..64, got 128"));
  EXPECT_THAT(message_of([&] { c.integer("huge"); }), HasSubstr("expected an integer"));
  EXPECT_THAT(message_of([&] { c.integers("archs"); }), HasSubstr("expected an integer"));
  EXPECT_THAT(message_of([&] { c.sub("eos"); }), HasSubstr("expected a JSON object, got array"));
  EXPECT_THAT(message_of([] { Config::parse("[1]", "config.json"); }),
              HasSubstr("expected a JSON object"));
  EXPECT_THAT(message_of([] { Config::parse("{", "config.json"); }), HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace quern
