// SPDX-License-Identifier: Apache-2.0
#include "eval/answer_match.h"

#include <algorithm>

#include "api/api_error.h"
#include "text/tokenizer/regex.h"

namespace quern::eval {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::string normal(std::string_view text, bool ignores_case) {
  std::string out(trimmed(text));
  if (ignores_case)
    std::ranges::transform(out, out.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
  return out;
}

// Of the whole answer, over lines too.
std::string pattern_of(const TaskItem& item) {
  return format(R"(\A(?{}m:{})\z)", item.ignores_case ? "i" : "", item.answers.front());
}

}  // namespace

AnswerMatcher::AnswerMatcher(const TaskItem& item) : item_(item) {
  if (item.match == AnswerMatch::regex) regex_ = std::make_unique<const Regex>(pattern_of(item));
}

AnswerMatcher::~AnswerMatcher() = default;

bool AnswerMatcher::is_right(std::string_view answer) const {
  if (regex_) {
    try {
      return !regex_->find_all(trimmed(answer)).empty();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::exhausted) throw;
      return false;
    }
  }
  const std::string given = normal(answer, item_.ignores_case);
  return std::ranges::any_of(item_.answers, [&](const std::string& expected) {
    const std::string right = normal(expected, item_.ignores_case);
    return item_.match == AnswerMatch::prefix ? given.starts_with(right) : given == right;
  });
}

void AnswerMatcher::check(const TaskItem& item) {
  if (item.match != AnswerMatch::regex) {
    for (const std::string& answer : item.answers)
      if (trimmed(answer).empty())
        fail_field("answer", "answer: nothing but blanks: every answer would be judged by nothing");
    return;
  }
  if (item.answers.size() != 1)
    fail_field("answer", "answer: with \"match\": \"regex\" expected one expression");
  try {
    const Regex alone(item.answers.front());  // brackets that only close what stands around it
    const AnswerMatcher whole(item);
  } catch (const Error& error) {
    fail_field("answer", "answer: {}", error.what());
  }
}

}  // namespace quern::eval
