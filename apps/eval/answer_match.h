// SPDX-License-Identifier: Apache-2.0
// Whether a generated answer is right.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "eval/task_file.h"

namespace quern {
class Regex;
}

namespace quern::eval {

// By the item's rule. Blanks (space, tab, line feed, carriage return) around answer and expectation
// do not count. Case does, unless the item ignores that of A to Z. `exact`: equal to one of the
// answers. `prefix`: begins with one of them. `regex`: the expression matches the whole answer.
class AnswerMatcher {
 public:
  explicit AnswerMatcher(const TaskItem& item);
  ~AnswerMatcher();
  AnswerMatcher(const AnswerMatcher&) = delete;
  AnswerMatcher& operator=(const AnswerMatcher&) = delete;

  // False, too, where an expression backtracks beyond all bounds.
  bool is_right(std::string_view answer) const;

  // Throws RequestError for an item whose rule cannot be used.
  static void check(const TaskItem& item);

 private:
  const TaskItem& item_;
  std::unique_ptr<const Regex> regex_;
};

}  // namespace quern::eval
