// SPDX-License-Identifier: Apache-2.0
// The files of run-batch: lines, duplicates, what an interrupted run left.
#include "batch_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "api/batch_line.h"
#include "base/file.h"

namespace quern {
namespace {

class BatchFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "batchXXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
  MonotonicClock clock_;
};

TEST_F(BatchFiles, LinesAreNumberedAndTheLastNeedsNoEnd) {
  LineReader reader(write("in", "a\n\nlast"));
  std::string line;
  int64_t number = 0;
  ASSERT_TRUE(reader.next(line, number));
  EXPECT_EQ(line, "a");
  ASSERT_TRUE(reader.next(line, number));
  EXPECT_EQ(reader.whole_bytes(), 3);
  ASSERT_TRUE(reader.next(line, number));
  EXPECT_EQ(line, "last");
  EXPECT_EQ(number, 3);
  EXPECT_EQ(reader.whole_bytes(), 3);
  EXPECT_FALSE(reader.next(line, number));
  EXPECT_THROW(LineReader(path("none")), Error);
  EXPECT_THROW(LineReader{folder_}, Error);
}

TEST_F(BatchFiles, ADuplicateNamesBothLines) {
  const std::string text = "{\"custom_id\": \"a\"}\n\n{\"custom_id\": \"a\"}\n";
  try {
    look_through(write("in", text));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("line 1 and in line 3"), std::string::npos)
        << error.what();
  }
}

TEST_F(BatchFiles, GoesOnBehindTheLastWholeLine) {
  const BatchInput input =
      look_through(write("in", "{\"custom_id\": \"a\"}\nnonsense\n{\"custom_id\": \"b\"}\n"));
  EXPECT_EQ(input.lines, 3);
  const std::string a = batch_answer("a", "r", "{}");
  const std::string bad = batch_bad_line("", 2, make_api_error(400, "no JSON"));
  write("out.part", a + "\n" + bad + "\n" + batch_answer("b", "r", "{}").substr(0, 20));
  BatchOutput output(path("out"), input, clock_);
  EXPECT_EQ(output.done(), 2u);
  EXPECT_TRUE(output.has("a"));
  EXPECT_TRUE(output.has(bad_line_key(2)));
  EXPECT_FALSE(output.has("b"));
  output.write("{}");
  EXPECT_FALSE(file_exists(path("out")));
  output.finish();
  EXPECT_FALSE(file_exists(path("out.part")));
  EXPECT_EQ(read_file(path("out")), a + "\n" + bad + "\n{}\n");
}

TEST_F(BatchFiles, AWholeLineWithoutItsEndIsDroppedToo) {
  const BatchInput input = look_through(write("in", "{\"custom_id\": \"a\"}\n"));
  write("out.part", batch_answer("a", "r", "{}"));
  const BatchOutput output(path("out"), input, clock_);
  EXPECT_EQ(output.done(), 0u);
  EXPECT_EQ(read_file(path("out.part")), "");
}

TEST_F(BatchFiles, AnswersOfAnotherInputAreRefused) {
  const BatchInput input = look_through(write("in", "{\"custom_id\": \"a\"}\n"));
  write("out.part", batch_answer("z", "r", "{}") + "\n");
  EXPECT_THROW(BatchOutput(path("out"), input, clock_), Error);
}

}  // namespace
}  // namespace quern
