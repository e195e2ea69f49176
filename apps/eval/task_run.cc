// SPDX-License-Identifier: Apache-2.0
#include "eval/task_run.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "eval/answer_match.h"

namespace quern::eval {
namespace {

// One line on a terminal, that changes.
class Progress {
 public:
  explicit Progress(const Task& task) : task_(task) {}
  ~Progress() {
    if (said_us_ > 0) std::fputs("\r\033[K", stderr);
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void count() {
    const std::lock_guard lock(mutex_);
    ++done_;
    const int64_t now = clock_.now_us();
    if (!is_terminal_ || now - said_us_ < 250'000) return;
    said_us_ = now;
    std::fprintf(stderr, "\r%s: %zu/%zu\033[K", task_.name.c_str(), done_, task_.items.size());
  }

 private:
  const Task& task_;
  const MonotonicClock clock_;
  const bool is_terminal_ = isatty(STDERR_FILENO) != 0;
  std::mutex mutex_;
  int64_t said_us_ = 0;
  size_t done_ = 0;
};

class TaskRun {
 public:
  TaskRun(const Task& task, const AnswerItem& answer_item)
      : task_(task), answer_item_(answer_item), results_(task.items.size()), progress_(task) {}

  TaskResults run(int at_once) {
    std::vector<std::thread> threads;
    const size_t count = std::min(results_.size(), static_cast<size_t>(std::max(1, at_once)));
    for (size_t i = 0; i < count; ++i) threads.emplace_back([this] { work(); });
    for (std::thread& thread : threads) thread.join();
    if (error_) std::rethrow_exception(error_);
    return std::move(results_);
  }

 private:
  void work() {
    for (size_t i; !has_stopped_ && (i = next_++) < results_.size();) {
      try {
        const TaskItem& item = task_.items[i];
        results_[i] = with_context(task_.where(item), [&] { return answer_item_(task_, item); });
        progress_.count();
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!error_) error_ = std::current_exception();
        has_stopped_ = true;
      }
    }
  }

  const Task& task_;
  const AnswerItem& answer_item_;
  TaskResults results_;
  Progress progress_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> has_stopped_ = false;
  std::mutex mutex_;
  std::exception_ptr error_;
};

size_t best_of(const std::vector<double>& values) {
  return static_cast<size_t>(std::ranges::max_element(values) - values.begin());
}

}  // namespace

TaskResults run_task(const Task& task, const AnswerItem& answer_item, int at_once) {
  return TaskRun(task, answer_item).run(at_once);
}

void judge_choices(const TaskItem& item, ItemResult& result) {
  std::vector<double> by_byte;
  for (size_t i = 0; i < item.choices.size(); ++i)
    by_byte.push_back(result.logprobs.at(i) / static_cast<double>(item.choices[i].size()));
  result.is_right = best_of(result.logprobs) == item.right_choice;
  result.is_right_norm = best_of(by_byte) == item.right_choice;
}

void judge_answer(const TaskItem& item, ItemResult& result) {
  result.is_right = AnswerMatcher(item).is_right(result.answer);
}

}  // namespace quern::eval
