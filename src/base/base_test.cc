// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file_hash.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "base/shown_text.h"
#include "base/topology.h"

namespace quern {
namespace {

TEST(Error, ContextsReadFromTheOutsideIn) {
  try {
    with_context("while loading layer 3",
                 [] { fail(ErrorCode::data_loss, "expected {}, got {}", 231, 232); });
    FAIL() << "did not throw";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "while loading layer 3: expected 231, got 232");
    EXPECT_EQ(e.code(), ErrorCode::data_loss);
    EXPECT_EQ(e.message(), "expected 231, got 232");
  }
}

TEST(Json, KeepsOrderAndTakesTheLastOfRepeatedKeys) {
  const Json j = parse_json(R"({"b": 1, "a": [true, null, "x"], "b": 2.5})", "test");
  EXPECT_EQ(j.dump(), R"({"b":2.5,"a":[true,null,"x"]})");
}

TEST(Json, RepeatedKeysInLargeObjects) {
  std::string text = "{";
  for (int i = 0; i < 40; ++i) text += format("\"k{}\": {}, ", i, i);
  text += R"("k3": "last", "k30": "too"})";
  const Json j = parse_json(text, "test");
  EXPECT_EQ(j.size(), 40u);
  EXPECT_EQ(j["k3"], "last");
  EXPECT_EQ(j["k30"], "too");
  EXPECT_EQ(j["k4"], 4);
}

TEST(Json, IsBounded) {
  EXPECT_THROW(parse_json(std::string(10000, '[') + std::string(10000, ']'), "test"), Error);
  EXPECT_THROW(parse_json("\"\xff\"", "test"), Error);
  EXPECT_THROW(parse_json("{} {}", "test"), Error);
  EXPECT_THROW(parse_json("", "test"), Error);
  EXPECT_THROW(parse_json("1e999", "test"), Error);
  EXPECT_THROW(parse_json("[1,2,3]", "test", {.max_bytes = 4}), Error);
}

TEST(Half, RoundTripsEveryF16) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    EXPECT_EQ(float_to_f16(value), bits);
  }
  EXPECT_EQ(float_to_bf16(1.00390625f), 0x3f80);  // halfway: to even
  EXPECT_EQ(float_to_bf16(1.01171875f), 0x3f82);
}

TEST(Half, FloatsOf8BitsComeBackAndRoundToTheNearest) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = e4m3_to_float(static_cast<uint8_t>(bits));
    if ((bits & 0x7f) == 0x7f)
      EXPECT_TRUE(std::isnan(value));
    else
      EXPECT_EQ(float_to_e4m3(value), bits);
  }
  for (int bits = 0; bits < 0x7e; ++bits) {
    const float low = e4m3_to_float(static_cast<uint8_t>(bits)),
                high = e4m3_to_float(static_cast<uint8_t>(bits + 1)), middle = (low + high) / 2;
    EXPECT_EQ(float_to_e4m3(middle), bits + bits % 2) << middle;  // to even
    EXPECT_EQ(float_to_e4m3(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(float_to_e4m3(-std::nextafter(middle, 1000.0f)), 0x80 | (bits + 1));
  }
  EXPECT_EQ(float_to_e4m3(1e30f), 0x7e);
  EXPECT_EQ(float_to_e4m3(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(float_to_e4m3(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7f);
}

TEST(Hash, ChainDependsOnOrder) {
  const auto bytes = [](const char* s) { return std::as_bytes(std::span(s, 3)); };
  const Hash128 ab = hash_chain(hash_bytes(bytes("aaa")), bytes("bbb"));
  const Hash128 ba = hash_chain(hash_bytes(bytes("bbb")), bytes("aaa"));
  EXPECT_NE(ab, ba);
  EXPECT_EQ(ab.hex().size(), 32u);
}

TEST(Hash, OfAFileIsThatOfItsBytes) {
  const std::string path = ::testing::TempDir() + "quern_file_hash";
  const std::string text(3'000'001, 'q');  // more than one buffer
  std::ofstream(path) << text;
  EXPECT_EQ(hash_file(path), hash_bytes(std::as_bytes(std::span(text))));
  EXPECT_THROW(hash_file(path + ".none"), Error);
  std::filesystem::remove(path);
}

TEST(Random, NormalDeviatesHaveTheirMoments) {
  constexpr int kCount = 100'000;
  double sum = 0, squares = 0, fourths = 0, products = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const double x = normal_deviate(7, 0, i);
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
    fourths += x * x * x * x;
    products += x * normal_deviate(7, 0, i + 1);
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
  EXPECT_NEAR(fourths / kCount, 3, 0.15);
  EXPECT_NEAR(products / kCount, 0, 0.02);
  EXPECT_EQ(normal_deviate(7, 0, 5), normal_deviate(7, 0, 5));
  EXPECT_NE(normal_deviate(7, 0, 5), normal_deviate(8, 0, 5));
  EXPECT_NE(normal_deviate(7, 0, 5), normal_deviate(7, 1, 5));
}

TEST(Topology, DescribesThisMachine) {
  const Topology t = probe_topology();
  EXPECT_GE(t.cpus.size(), 1u);
  EXPECT_GT(t.memory_bytes, 0);
  EXPECT_EQ(parse_isa(name_of(t.isa)), t.isa);
  EXPECT_THROW(parse_isa("avx1024"), Error);
}

TEST(ShownText, HoldsVisibleAsciiAlone) {
  EXPECT_EQ(shown_text("os.system"), "\"os.system\"");
  EXPECT_EQ(shown_text("a\"b\n\xff\xe4"), "\"a\\x22b\\x0a\\xff\\xe4\"");
}

}  // namespace
}  // namespace quern
