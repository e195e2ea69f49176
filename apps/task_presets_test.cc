// SPDX-License-Identifier: Apache-2.0
#include "task_presets.h"

#include <gtest/gtest.h>

#include <set>

#include "api/grammar_presets.h"
#include "base/error.h"

namespace quern {
namespace {

TEST(TaskPresets, PromptsAreThePublishedOnes) {
  EXPECT_EQ(task_prompt("ocr", ""), "提取图中的文字。");
  EXPECT_EQ(task_prompt("fields", "price, date"),
            "提取图片中的: ['price','date'] 的字段内容，并按照 JSON 格式返回。");
}

TEST(TaskPresets, SayWhatTheyTake) {
  EXPECT_THROW(task_prompt("ocr", "please"), Error);
  EXPECT_THROW(task_prompt("fields", " , "), Error);
  EXPECT_THROW(task_prompt("poem", ""), Error);
}

TEST(TaskPresets, AProblemIsTakenAsItIs) {
  const std::string prompt = task_prompt("lean4", "Show, for all x, y: {x} = {y}.");
  EXPECT_TRUE(prompt.ends_with("\n\nShow, for all x, y: {x} = {y}."));
  EXPECT_THROW(task_prompt("lean4", ""), Error);
  EXPECT_TRUE(grammar_preset(task_preset("lean4").grammar).has_value());
}

TEST(TaskPresets, HaveNamesOfTheirOwn) {
  const std::vector<std::string> names = task_preset_names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

}  // namespace
}  // namespace quern
