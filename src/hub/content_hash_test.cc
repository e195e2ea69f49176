// SPDX-License-Identifier: Apache-2.0
#include "hub/content_hash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"

namespace quern {
namespace {

std::string hash_of(std::string_view text, std::string_view kind) {
  ContentHash hash(kind, static_cast<int64_t>(text.size()));
  for (const char& c : text) hash.add(std::as_bytes(std::span(&c, 1)));
  return hash.finish();
}

TEST(ContentHash, IsWhatGitAndSha256sumSay) {
  const std::string git(40, '0'), sha256(64, '0');
  // printf 'hello\n' | git hash-object --stdin; printf 'hello\n' | sha256sum
  EXPECT_EQ(hash_of("hello\n", git), "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(hash_of("hello\n", sha256),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  EXPECT_EQ(hash_of("", git), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(hash_of("", sha256),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(ContentHash, OfAFile) {
  const std::string path = ::testing::TempDir() + "quern_content_hash";
  std::ofstream(path) << "hello\n";
  EXPECT_EQ(content_hash_of_file(path, std::string(40, 'a')),
            "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_THROW(content_hash_of_file(path + ".none", std::string(40, 'a')), Error);
}

TEST(ContentHash, WhatCanBeOne) {
  EXPECT_TRUE(is_content_hash(std::string(40, 'a')));
  EXPECT_TRUE(is_content_hash(std::string(64, '9')));
  EXPECT_FALSE(is_content_hash(std::string(64, 'A')));
  EXPECT_FALSE(is_content_hash(std::string(39, 'a')));
  EXPECT_FALSE(is_content_hash("../" + std::string(37, 'a')));
}

}  // namespace
}  // namespace quern
