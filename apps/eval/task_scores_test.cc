// SPDX-License-Identifier: Apache-2.0
#include "eval/task_scores.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern::eval {
namespace {

Task task_of(const std::string& name, bool is_choice, size_t count) {
  Task task{.name = name, .path = name + ".jsonl", .is_choice = is_choice, .items = {}};
  for (size_t i = 0; i < count; ++i) {
    TaskItem item;
    item.line = static_cast<int64_t>(2 * i) + 1;
    if (i == 0) item.id = "first";
    task.items.push_back(item);
  }
  return task;
}

TaskResults results(const std::string& right, const std::string& right_norm = "") {
  TaskResults out;
  for (size_t i = 0; i < right.size(); ++i)
    out.push_back({.is_right = right[i] == '1',
                   .is_right_norm = i < right_norm.size() && right_norm[i] == '1',
                   .logprobs = {-1, -2},
                   .answer = "x"});
  return out;
}

TEST(TaskScores, ARowForEachTaskAndMetric) {
  const std::vector<Task> tasks = {task_of("a", true, 4), task_of("b", false, 2)};
  const Json rows = score_rows(tasks, {results("1100", "1110"), results("01")}, {});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["metric"], "acc");
  EXPECT_EQ(rows[0]["score"], 0.5);
  EXPECT_EQ(rows[1]["metric"], "acc_norm");
  EXPECT_EQ(rows[1]["right"], 3);
  EXPECT_EQ(rows[2]["task"], "b");
  EXPECT_EQ(rows[2]["metric"], "exact_match");
  EXPECT_EQ(rows[2]["questions"], 2);
  EXPECT_LT(rows[2]["interval"][0], 0.5);
  EXPECT_GT(rows[2]["interval"][1], 0.5);
  EXPECT_FALSE(rows[0].contains("difference"));
  EXPECT_NE(score_text(rows).find("b exact_match: 50.0 % ["), std::string::npos);
}

TEST(TaskScores, AReferenceIsComparedQuestionByQuestion) {
  const std::vector<Task> tasks = {task_of("a", false, 5)};
  const Json rows = score_rows(tasks, {results("11100")}, {results("10010")});
  EXPECT_EQ(rows[0]["reference_score"], 0.4);
  EXPECT_NEAR(rows[0]["difference"].get<double>(), 0.2, 1e-12);
  EXPECT_EQ(rows[0]["alone"], 2);
  EXPECT_EQ(rows[0]["reference_alone"], 1);
  EXPECT_EQ(rows[0]["p_value"], 1);
  EXPECT_LT(rows[0]["difference_interval"][0], 0);
  EXPECT_NE(score_text(rows).find("difference +20.0 ["), std::string::npos);
}

TEST(TaskScores, AnswersComeBackFromTheirRows) {
  const std::vector<Task> tasks = {task_of("a", true, 2), task_of("b", false, 1)};
  const Json rows = answer_rows(tasks, {results("10", "01"), results("1")});
  EXPECT_EQ(rows[0]["id"], "first");
  EXPECT_EQ(rows[1]["line"], 3);
  EXPECT_EQ(rows[1]["logprobs"].size(), 2u);
  EXPECT_EQ(rows[2]["answer"], "x");
  const std::vector<TaskResults> back = results_of(tasks, rows);
  EXPECT_TRUE(back[0][0].is_right);
  EXPECT_TRUE(back[0][1].is_right_norm);
  EXPECT_TRUE(back[1][0].is_right);
  EXPECT_THROW(results_of(tasks, Json::array()), Error);
}

}  // namespace
}  // namespace quern::eval
