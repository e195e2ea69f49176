// SPDX-License-Identifier: Apache-2.0
#include "eval/task_run.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"

namespace quern::eval {
namespace {

TaskItem choice_item(std::vector<std::string> choices, size_t right) {
  TaskItem out;
  out.choices = std::move(choices);
  out.right_choice = right;
  return out;
}

Task numbers(size_t count) {
  Task task{.name = "t", .path = "t.jsonl", .is_choice = false, .items = {}};
  for (size_t i = 0; i < count; ++i) {
    TaskItem item;
    item.line = static_cast<int64_t>(i) + 1;
    item.answers = {std::to_string(i)};
    task.items.push_back(item);
  }
  return task;
}

TEST(TaskRun, ChoicesAreJudgedBySumAndByByte) {
  ItemResult result{.logprobs = {-4, -5}};
  judge_choices(choice_item({"no", "yes, certainly"}, 0), result);
  EXPECT_TRUE(result.is_right);
  EXPECT_FALSE(result.is_right_norm);  // -2 a byte, -0.36 a byte
  judge_choices(choice_item({"no", "yes, certainly"}, 1), result);
  EXPECT_FALSE(result.is_right);
  EXPECT_TRUE(result.is_right_norm);
  result.logprobs = {-3, -3};
  judge_choices(choice_item({"ab", "cd"}, 1), result);
  EXPECT_FALSE(result.is_right);  // the first of equals
}

TEST(TaskRun, ResultsKeepTheOrderForAnyNumberAtOnce) {
  const Task task = numbers(100);
  for (const int at_once : {0, 1, 7, 500}) {
    std::atomic<int> running = 0, most = 0;
    const TaskResults results = run_task(
        task,
        [&](const Task&, const TaskItem& item) {
          const int now = ++running;
          for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
          }
          ItemResult out{.answer = item.line % 3 == 0 ? "wrong" : item.answers.front()};
          judge_answer(item, out);
          --running;
          return out;
        },
        at_once);
    ASSERT_EQ(results.size(), 100u);
    for (size_t i = 0; i < results.size(); ++i)
      EXPECT_EQ(results[i].is_right, (i + 1) % 3 != 0) << i;
    EXPECT_LE(most, std::max(1, at_once));
  }
}

TEST(TaskRun, AFailureEndsItAndNamesItsPlace) {
  const Task task = numbers(50);
  std::atomic<int> asked = 0;
  try {
    run_task(
        task,
        [&](const Task&, const TaskItem& item) -> ItemResult {
          ++asked;
          if (item.line == 3) fail(ErrorCode::invalid_argument, "too long");
          return {};
        },
        1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "t.jsonl: line 3: too long");
  }
  EXPECT_EQ(asked, 3);
}

}  // namespace
}  // namespace quern::eval
