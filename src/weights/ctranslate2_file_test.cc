// SPDX-License-Identifier: Apache-2.0
#include "weights/ctranslate2_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error_of.h"
#include "weights/ctranslate2_bytes.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Ctranslate2FileTest : public testing::Test {
 protected:
  ~Ctranslate2FileTest() override { std::filesystem::remove(path_); }
  Ctranslate2Model open(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
    return open_ctranslate2_file(path_);
  }
  std::string error(const std::string& bytes) const {
    return error_of([&] { open(bytes); });
  }

  std::string path_ = testing::TempDir() + "quern_ctranslate2.bin";
};

TEST_F(Ctranslate2FileTest, VariablesAndAliases) {
  const Ctranslate2Model m = open(Ctranslate2Bytes()
                                      .variable("a/weight", {2, 3}, 4, "abcdefghijkl")
                                      .variable("a/num_heads", {}, 2, std::string("\6\0", 2))
                                      .alias("b/weight", "a/weight")
                                      .file());
  EXPECT_EQ(m.spec, "WhisperSpec");
  EXPECT_EQ(m.revision, 3u);
  EXPECT_THAT(m.variables->names(), ElementsAre("a/num_heads", "a/weight", "b/weight"));
  EXPECT_EQ(m.variables->info("b/weight").shape, (Shape{2, 3}));
  EXPECT_EQ(m.variables->info("b/weight").stored, Stored::f16);
  EXPECT_EQ(m.variables->bytes("b/weight").data(), m.variables->bytes("a/weight").data());
  EXPECT_EQ(m.variables->info("a/num_heads").stored, Stored::i16);
}

TEST_F(Ctranslate2FileTest, WhatContradictsItselfIsRefused) {
  const auto with = [&](auto&& add) {
    Ctranslate2Bytes b;
    add(b.variable("w", {2}, 0, "abcdefgh"));
    return error(b.file());
  };
  using Bytes = Ctranslate2Bytes;
  EXPECT_EQ(with([](Bytes&) {}), "nothing was thrown");
  EXPECT_THAT(with([](Bytes& b) { b.variable("w", {1}, 1, "x"); }), HasSubstr("stored twice"));
  EXPECT_THAT(with([](Bytes& b) { b.variable("v", {3}, 1, "x"); }),
              HasSubstr("v: i8 [3] takes 3 bytes, the file gives it 1"));
  EXPECT_THAT(with([](Bytes& b) {
                b.variable("v", {1u << 31, 1u << 31}, 1, "x");
              }),
              HasSubstr("data_loss"));
  EXPECT_THAT(with([](Bytes& b) { b.variable("v", {1}, 9, "x"); }), HasSubstr("element type 9"));
  EXPECT_THAT(with([](Bytes& b) { b.alias("v", "u"); }), HasSubstr("there is no variable u"));
  EXPECT_THAT(with([](Bytes& b) { b.alias("w", "w"); }), HasSubstr("stored twice"));
  EXPECT_THAT(error(Bytes().file(5)), HasSubstr("unsupported: " + path_ + ": binary version 5"));
  EXPECT_THAT(error(Bytes().file() + "x"), HasSubstr("1 bytes behind the last alias"));
}

TEST_F(Ctranslate2FileTest, EveryTruncationIsRefused) {
  const std::string whole =
      Ctranslate2Bytes().variable("w", {2}, 0, "abcdefgh").alias("v", "w").file();
  EXPECT_EQ(error(whole), "nothing was thrown");
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THAT(error(whole.substr(0, size)), HasSubstr("data_loss")) << size;
}

}  // namespace
}  // namespace quern
