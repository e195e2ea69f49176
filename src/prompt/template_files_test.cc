// SPDX-License-Identifier: Apache-2.0
#include "prompt/template_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/jinja/chat_template.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

class TemplateFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::path(testing::TempDir()) / format("quern_{}_{}", name, getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const char* name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  fs::path folder_;
};

TEST_F(TemplateFilesTest, NothingIsEmpty) {
  EXPECT_EQ(read_template_files(folder_).standard, "");
  EXPECT_TRUE(read_special_tokens(folder_).empty());
}

TEST_F(TemplateFilesTest, FilesRankInOrder) {
  write("tokenizer_config.json", R"({"chat_template": "from config"})");
  EXPECT_EQ(read_template_files(folder_).standard, "from config");
  write("chat_template.json", R"({"chat_template": "from json"})");
  EXPECT_EQ(read_template_files(folder_).standard, "from json");
  write("chat_template.jinja", "from jinja\n");
  EXPECT_EQ(read_template_files(folder_).standard, "from jinja\n");
}

TEST_F(TemplateFilesTest, SparkWithoutATemplateHasItsFamilys) {
  write("config.json", R"({"model_type": "spark"})");
  const TemplateFiles files = read_template_files(folder_);
  EXPECT_TRUE(files.is_fallback);
  const Json messages = Json::parse(R"([{"role": "system", "content": "S"},
    {"role": "user", "content": [{"type": "text", "text": "a\n"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"}])");
  const ChatTemplate chat(files.standard);
  EXPECT_EQ(chat.render({{"messages", messages}, {"add_generation_prompt", true}}, 0),
            "<System> S<end><User> a\nb<end><Bot> c<end><User> d<end><Bot> ");
  EXPECT_EQ(chat.render({{"messages", messages}, {"add_generation_prompt", false}}, 0),
            "<System> S<end><User> a\nb<end><Bot> c<end><User> d<end>");
  EXPECT_THROW(chat.render({{"messages", Json::parse(R"([{"role": "tool", "content": "x"}])")}}, 0),
               Error);
  write("tokenizer_config.json", R"({"chat_template": "its own"})");
  EXPECT_EQ(read_template_files(folder_).standard, "its own");
  EXPECT_FALSE(read_template_files(folder_).is_fallback);
  write("config.json", R"({"model_type": "llama"})");
  write("tokenizer_config.json", "{}");
  EXPECT_EQ(read_template_files(folder_).standard, "");
}

TEST_F(TemplateFilesTest, AListNamesTwo) {
  write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}, {"name": "rag", "template": "C"}]})");
  const TemplateFiles files = read_template_files(folder_);
  EXPECT_EQ(files.standard, "A");
  EXPECT_EQ(files.tool_use, "B");
}

TEST_F(TemplateFilesTest, OtherShapesAreDamage) {
  write("tokenizer_config.json", R"({"chat_template": 7})");
  EXPECT_THROW(read_template_files(folder_), Error);
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default"}]})");
  EXPECT_THROW(read_template_files(folder_), Error);
  write("tokenizer_config.json", "[]");
  EXPECT_THROW(read_template_files(folder_), Error);
}

TEST_F(TemplateFilesTest, SpecialTokensAreTexts) {
  write("special_tokens_map.json", R"({"bos_token": "old", "unk_token": "<unk>"})");
  write(
      "tokenizer_config.json",
      R"({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null, "additional_special_tokens": ["<a>", {"content": "<b>"}]})");
  const Json tokens = read_special_tokens(folder_);
  EXPECT_EQ(
      tokens.dump(),
      R"({"bos_token":"<s>","unk_token":"<unk>","eos_token":"</s>","additional_special_tokens":["<a>","<b>"]})");
}

}  // namespace
}  // namespace quern
