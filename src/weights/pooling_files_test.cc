// SPDX-License-Identifier: Apache-2.0
#include "weights/pooling_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace quern {
namespace {

using ::testing::HasSubstr;

class PoolingFiles : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) / (std::string("pooling_") + test->name());
    std::filesystem::create_directories(folder_ / "1_Pooling");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  void write_modules(const std::string& pooling, bool normalizes = false) {
    write("modules.json",
          std::string(R"([{"idx": 0, "name": "0", "path": "",
                           "type": "sentence_transformers.models.Transformer"},
                          {"idx": 1, "name": "1", "path": "1_Pooling",
                           "type": "sentence_transformers.models.Pooling"})") +
              (normalizes ? R"(, {"idx": 2, "name": "2", "path": "2_Normalize",
                                  "type": "sentence_transformers.models.Normalize"}])"
                          : "]"));
    write("1_Pooling/config.json", pooling);
  }
  std::optional<StatedPooling> read() const { return read_stated_pooling(folder_.string()); }
  std::string error() const {
    try {
      read();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  std::filesystem::path folder_;
};

TEST_F(PoolingFiles, ReadTheModesThatAreDone) {
  EXPECT_FALSE(read());
  const std::pair<const char*, const char*> modes[] = {
      {R"({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})", "CLS"},
      {R"({"pooling_mode_mean_tokens": true, "word_embedding_dimension": 128})", "MEAN"},
      {R"({"pooling_mode_lasttoken": true, "include_prompt": true})", "LAST"},
      {R"({"pooling_mode": "lasttoken"})", "LAST"},
      {R"({"pooling_mode": "mean"})", "MEAN"}};
  for (const auto& [config, type] : modes) {
    write_modules(config);
    EXPECT_EQ(read()->type, type);
    EXPECT_FALSE(read()->normalizes);
  }
  write_modules(modes[1].first, true);
  write("sentence_bert_config.json", R"({"max_seq_length": 512, "do_lower_case": false})");
  EXPECT_TRUE(read()->normalizes);
  EXPECT_EQ(read()->size, 128);
  EXPECT_EQ(read()->max_tokens, 512);
}

TEST_F(PoolingFiles, RefuseWhatIsNotDone) {
  write_modules(R"({"pooling_mode_max_tokens": true})");
  EXPECT_THAT(error(), HasSubstr("pooling by max is not done here"));
  write_modules(R"({"pooling_mode_weightedmean_tokens": true})");
  EXPECT_THAT(error(), HasSubstr("weightedmean"));
  write_modules(R"({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})");
  EXPECT_THAT(error(), HasSubstr("both cls and mean"));
  write_modules(R"({"word_embedding_dimension": 128})");
  EXPECT_THAT(error(), HasSubstr("states no pooling_mode"));
  write_modules(R"({"pooling_mode": "attention"})");
  EXPECT_THAT(error(), HasSubstr("attention is not known"));
  write_modules(R"({"pooling_mode_lasttoken": true})");
  write("sentence_bert_config.json", R"({"do_lower_case": true})");
  EXPECT_THAT(error(), HasSubstr("do_lower_case"));
}

TEST_F(PoolingFiles, RefuseOtherModulesAndPaths) {
  write_modules(R"({"pooling_mode_lasttoken": true})");
  const auto list = [this](const std::string& first, const std::string& third) {
    write("modules.json",
          R"([{"path": ")" + first + R"(", "type": "s.Transformer"},
              {"path": "1_Pooling", "type": "s.Pooling"}, )" +
              third + "]");
  };
  list("", R"({"path": "2_Dense", "type": "sentence_transformers.models.Dense"})");
  EXPECT_THAT(error(), HasSubstr("module 2, Dense: this build does Transformer, Pooling"));
  list("0_Transformer", R"({"path": "", "type": "s.Normalize"})");
  EXPECT_THAT(error(), HasSubstr("lies under 0_Transformer"));
  list("", R"({"path": "../../etc", "type": "s.Normalize"})");
  EXPECT_THAT(error(), HasSubstr("expected one in this folder"));
  list("", R"({"type": "s.Normalize"})");
  EXPECT_THAT(error(), HasSubstr("needs a string under \"path\""));
  write("modules.json", R"({"a": 1})");
  EXPECT_THAT(error(), HasSubstr("expected an array"));
  write("modules.json", R"([{"path": "", "type": "s.Transformer"}])");
  EXPECT_FALSE(read());
}

}  // namespace
}  // namespace quern
