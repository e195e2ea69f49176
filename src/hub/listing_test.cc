// SPDX-License-Identifier: Apache-2.0
#include "hub/listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern {
namespace {

using ::testing::HasSubstr;

const std::string kCommit(40, 'c');
const std::string kSha1(40, 'a'), kSha256(64, 'b');

Json listing(const Json& siblings) {
  return {{"sha", kCommit}, {"siblings", siblings}};
}

std::string refusal(const Json& answer) {
  try {
    parse_listing(answer);
  } catch (const Error& e) {
    return format("{}: {}", name_of(e.code()), e.what());
  }
  return "accepted";
}

TEST(Listing, SizesAndHashesOfBothKinds) {
  const RepoListing out = parse_listing(
      listing({{{"rfilename", "config.json"}, {"size", 12}, {"blobId", kSha1}},
               {{"rfilename", "a/m.safetensors"},
                {"size", 7},
                {"blobId", kSha1},
                {"lfs", {{"sha256", kSha256}, {"size", 5'000'000'000}, {"pointerSize", 135}}}},
               {{"rfilename", "unknown.bin"}}}));
  EXPECT_EQ(out.commit, kCommit);
  ASSERT_EQ(out.files.size(), 3u);
  EXPECT_EQ(out.files[0].hash, kSha1);
  EXPECT_EQ(out.files[0].size_bytes, 12);
  EXPECT_EQ(out.files[1].hash, kSha256);
  EXPECT_EQ(out.files[1].size_bytes, 5'000'000'000);
  EXPECT_EQ(out.files[2].hash, "");
  EXPECT_EQ(out.files[2].size_bytes, -1);
}

TEST(Listing, NamesStayBelowTheFolder) {
  for (const char* bad :
       {"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "a\nb", "..", "a/.."})
    EXPECT_FALSE(is_repo_path(bad)) << bad;
  EXPECT_FALSE(is_repo_path(std::string("a\0b", 3)));
  EXPECT_FALSE(is_repo_path(std::string(300, 'a')));
  EXPECT_FALSE(is_repo_path("a/" + std::string(2000, '/')));
  for (const char* good : {"a", "a/b.c", ".gitattributes", "a/..b", "x y", "\xc3\xa9.json"})
    EXPECT_TRUE(is_repo_path(good)) << good;
  EXPECT_THAT(refusal(listing({{{"rfilename", "../../x"}}})),
              HasSubstr("data_loss: the hub's listing: \"../../x\" is no name"));
}

TEST(Listing, WhatIsNoListing) {
  EXPECT_THAT(refusal(Json::array()), HasSubstr("expected a commit"));
  EXPECT_THAT(refusal({{"sha", "main"}}), HasSubstr("expected a commit"));
  EXPECT_THAT(refusal({{"sha", kCommit}}), HasSubstr("siblings"));
  EXPECT_THAT(refusal(listing({{{"rfilename", "a"}}, {{"rfilename", "a"}}})), HasSubstr("twice"));
  EXPECT_THAT(refusal(listing({{{"rfilename", "a"}, {"size", -4}}})), HasSubstr("size"));
  EXPECT_THAT(refusal(listing({{{"rfilename", "a"}, {"size", 1e30}}})), HasSubstr("size"));
  EXPECT_THAT(refusal(listing({{{"rfilename", "a"}, {"size", int64_t{1} << 60}}})),
              HasSubstr("size"));
  EXPECT_THAT(refusal(listing({{{"rfilename", "a"}, {"blobId", "../../../x"}}})),
              HasSubstr("expected a hash"));
  EXPECT_THAT(refusal(listing({{{"rfilename", "a"}, {"lfs", {{"sha256", "x"}}}}})),
              HasSubstr("expected a hash"));
}

}  // namespace
}  // namespace quern
