// SPDX-License-Identifier: Apache-2.0
#include "hub/file_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

RepoListing listing(const std::vector<std::string>& names) {
  RepoListing out;
  for (const std::string& name : names) out.files.push_back({name, 10, std::string(40, 'a')});
  return out;
}

std::vector<std::string> wanted(const RepoListing& listing, const FileWish& wish = {}) {
  std::vector<std::string> out;
  for (const RepoFile& file : choose_files(listing, wish).wanted) out.push_back(file.path);
  return out;
}

std::string refusal(const RepoListing& listing, const FileWish& wish) {
  try {
    choose_files(listing, wish);
  } catch (const Error& e) {
    return format("{}: {}", name_of(e.code()), e.what());
  }
  return "accepted";
}

const RepoListing kSafetensors = listing({".gitattributes",
                                          "README.md",
                                          "LICENSE",
                                          "config.json",
                                          "tokenizer.json",
                                          "merges.txt",
                                          "chat_template.jinja",
                                          "model-00001-of-00002.safetensors",
                                          "model-00002-of-00002.safetensors",
                                          "model.safetensors.index.json",
                                          "consolidated.safetensors",
                                          "pytorch_model.bin",
                                          "original/consolidated.00.pth",
                                          "onnx/model.onnx",
                                          "onnx/config.json",
                                          "modules.json",
                                          "1_Pooling/config.json",
                                          "m.Q4_K_M.gguf"});

TEST(FileChoice, WhatQuernReads) {
  EXPECT_THAT(wanted(kSafetensors),
              UnorderedElementsAre("LICENSE",
                                   "config.json",
                                   "modules.json",
                                   "1_Pooling/config.json",
                                   "tokenizer.json",
                                   "merges.txt",
                                   "chat_template.jinja",
                                   "model-00001-of-00002.safetensors",
                                   "model-00002-of-00002.safetensors",
                                   "model.safetensors.index.json"));
  const FileChoice choice = choose_files(kSafetensors, {});
  EXPECT_EQ(choice.wanted.size() + choice.skipped.size(), kSafetensors.files.size());
}

TEST(FileChoice, AVariantBesideTheModelIsSkipped) {
  EXPECT_THAT(wanted(listing({"config.json", "model.safetensors", "model.fp16.safetensors"})),
              UnorderedElementsAre("config.json", "model.safetensors"));
  EXPECT_THAT(wanted(listing({"config.json", "consolidated.safetensors"})),
              UnorderedElementsAre("config.json", "consolidated.safetensors"));
}

TEST(FileChoice, Globs) {
  EXPECT_THAT(wanted(kSafetensors, {.include = {"original/", "*.md"}, .exclude = {}, .gguf = {}}),
              UnorderedElementsAre("README.md", "original/consolidated.00.pth"));
  EXPECT_THAT(wanted(kSafetensors, {.include = {"*.json"}, .exclude = {"*index*"}, .gguf = {}}),
              UnorderedElementsAre("config.json",
                                   "tokenizer.json",
                                   "modules.json",
                                   "1_Pooling/config.json",
                                   "onnx/config.json"));
  EXPECT_TRUE(matches_glob("a/b/c.bin", "*.bin"));
  EXPECT_TRUE(matches_glob("model-00001.x", "model-[0-9]*.?"));
  EXPECT_FALSE(matches_glob("model.x", "model"));
  EXPECT_THAT(refusal(kSafetensors, {.include = {"*.zip"}, .exclude = {}, .gguf = {}}),
              HasSubstr("not_found: none of the model's 18 files"));
}

const RepoListing kGguf = listing({"config.json",
                                   "m-Q4_K_M.gguf",
                                   "m-Q4_K_S.gguf",
                                   "m-UD-Q4_K_M_XL.gguf",
                                   "big/m-Q8_0-00001-of-00002.gguf",
                                   "big/m-Q8_0-00002-of-00002.gguf",
                                   "mmproj-F16.gguf"});

TEST(FileChoice, OneOfSeveralGgufModelsIsNamed) {
  EXPECT_THAT(refusal(kGguf, {}), HasSubstr("4 of 4 GGUF models match; name one by --gguf NAME:"));
  EXPECT_THAT(wanted(kGguf, {.include = {}, .exclude = {}, .gguf = "q4_k_m"}),
              ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(wanted(kGguf, {.include = {}, .exclude = {}, .gguf = "m-Q4_K_S.gguf"}),
              ElementsAre("m-Q4_K_S.gguf"));
  EXPECT_THAT(wanted(kGguf, {.include = {}, .exclude = {}, .gguf = "Q8_0"}),
              ElementsAre("big/m-Q8_0-00001-of-00002.gguf", "big/m-Q8_0-00002-of-00002.gguf"));
  EXPECT_THAT(wanted(kGguf, {.include = {"config.json"}, .exclude = {}, .gguf = "Q4_K_S"}),
              UnorderedElementsAre("config.json", "m-Q4_K_S.gguf"));
  EXPECT_THAT(refusal(kGguf, {.include = {}, .exclude = {}, .gguf = "Q5"}),
              HasSubstr("not_found: 0 of 4"));
  EXPECT_THAT(wanted(listing({"README.md", "only.gguf"})), ElementsAre("only.gguf"));
  EXPECT_THAT(refusal(listing({"README.md"}), {}), HasSubstr("no GGUF files"));
}

TEST(FileChoice, SmallFilesFirstThenTheLargest) {
  RepoListing sizes = listing({"a.json", "b.safetensors", "c.safetensors", "d.json"});
  sizes.files[1].size_bytes = 5'000'000;
  sizes.files[2].size_bytes = 9'000'000;
  EXPECT_THAT(wanted(sizes), ElementsAre("a.json", "d.json", "c.safetensors", "b.safetensors"));
}

}  // namespace
}  // namespace quern
