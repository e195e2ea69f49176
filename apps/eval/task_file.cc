// SPDX-License-Identifier: Apache-2.0
#include "eval/task_file.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "api/api_error.h"
#include "api/chat_request.h"
#include "base/error.h"
#include "batch_files.h"
#include "eval/answer_match.h"
#include "eval/task_pictures.h"

namespace quern::eval {
namespace {

namespace fs = std::filesystem;

// A list of 1 to `most` texts that are not empty, of at most `most_bytes` each.
std::vector<std::string> texts_of(const Json& value,
                                  std::string_view name,
                                  size_t most,
                                  size_t most_bytes = kMaxAnswerBytes) {
  if (!value.is_array() || value.empty() || value.size() > most)
    fail_field(name, "{}: expected a list of 1 to {} texts", name, most);
  std::vector<std::string> out;
  for (const Json& text : value) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty() ||
        text.get_ref<const std::string&>().size() > most_bytes)
      fail_field(name,
                 "{}[{}]: expected a text of 1 to {} bytes, got {}",
                 name,
                 out.size(),
                 most_bytes,
                 text.is_string() ? format("{} bytes", text.get_ref<const std::string&>().size())
                                  : std::string(json_type_name(text)));
    out.push_back(text.get<std::string>());
  }
  return out;
}

// A text is a list of one.
Json as_list(const Json& value) {
  return value.is_string() ? Json::array({value}) : value;
}

void read_question(FieldReader& fields, const fs::path& folder, TaskItem& item) {
  const Json* prompt = fields.find("prompt");
  const Json* messages = fields.find("messages");
  if ((prompt != nullptr) == (messages != nullptr))
    fail_field("prompt", "prompt: expected either a prompt or messages");
  if (prompt) {
    if (!prompt->is_string() || prompt->get_ref<const std::string&>().empty())
      fail_field("prompt", "prompt: expected a text that is not empty");
    item.prompt = prompt->get<std::string>();
    return;
  }
  item.messages = ChatMessages::parse(fields).messages;
  expect_pictures(*item.messages, folder);
}

// The number of a choice, or its text.
size_t right_choice(const Json& answer, const std::vector<std::string>& choices) {
  if (answer.is_string()) {
    const auto found = std::find(choices.begin(), choices.end(), answer.get<std::string>());
    if (found == choices.end())
      fail_field("answer",
                 "answer: the text is none of the choices; give one of them, or its index");
    return static_cast<size_t>(found - choices.begin());
  }
  const int64_t index = answer.is_number_integer() ? answer.get<int64_t>() : -1;
  if (index < 0 || index >= static_cast<int64_t>(choices.size()))
    fail_field("answer",
               "answer: expected an index from 0 to {} or the text of a choice",
               choices.size() - 1);
  return static_cast<size_t>(index);
}

void read_choices(FieldReader& fields, const Json& choices, const Json& answer, TaskItem& item) {
  item.choices = texts_of(choices, "choices", kMaxChoices);
  if (item.choices.size() < 2) fail_field("choices", "choices: expected at least 2");
  if (std::set(item.choices.begin(), item.choices.end()).size() != item.choices.size())
    fail_field("choices", "choices: two of them are the same");
  item.right_choice = right_choice(answer, item.choices);
  for (const std::string_view name : {"match", "max_tokens", "stop", "ignore_case"})
    if (fields.has(name))
      fail_field(name, "{}: it belongs to answers that are generated, not to choices", name);
}

AnswerMatch match_of(const std::string& name) {
  for (const AnswerMatch match : {AnswerMatch::exact, AnswerMatch::prefix, AnswerMatch::regex})
    if (name == name_of(match)) return match;
  fail_field("match", "match: expected exact, prefix or regex, got \"{}\"", name.substr(0, 32));
}

void read_answer(FieldReader& fields, const Json& answer, TaskItem& item) {
  item.answers = texts_of(as_list(answer), "answer", kMaxAnswers);
  item.match = match_of(fields.string("match").value_or("exact"));
  item.ignores_case = fields.boolean_or("ignore_case", false);
  item.max_tokens =
      static_cast<int>(fields.integer("max_tokens", 1, kMaxAnswerTokens).value_or(kAnswerTokens));
  if (const Json* stop = fields.find("stop"))
    item.stop = texts_of(as_list(*stop), "stop", kMaxStops, kMaxStopBytes);
  AnswerMatcher::check(item);
}

TaskItem item_of(const std::string& text, const fs::path& folder) {
  const Json line = parse_json(text, "line", {.max_bytes = LineReader::kMaxLineBytes});
  FieldReader fields(line);
  TaskItem item;
  item.id = fields.string("id").value_or("");
  read_question(fields, folder, item);
  const Json* answer = fields.find("answer");
  if (!answer) fail_field("answer", "answer: there is none");
  if (const Json* choices = fields.find("choices"))
    read_choices(fields, *choices, *answer, item);
  else
    read_answer(fields, *answer, item);
  fields.reject_misspelt();
  return item;
}

void expect_one_kind(const Task& task, const TaskItem& item) {
  if (task.is_choice == !item.choices.empty()) return;
  fail_field("choices",
             "choices: {}; a file holds one kind of question, put the two kinds in two files",
             task.is_choice ? "there are none, but earlier lines have some"
                            : "there are some, but earlier lines have none");
}

std::string stem_of(const std::string& path) {
  return fs::path(path).stem().string();
}

}  // namespace

std::string_view name_of(AnswerMatch match) {
  switch (match) {
    case AnswerMatch::exact:
      return "exact";
    case AnswerMatch::prefix:
      return "prefix";
    case AnswerMatch::regex:
      return "regex";
  }
  return "";
}

std::string Task::where(const TaskItem& item) const {
  return format("{}: line {}", path, item.line);
}

Task read_task(const std::string& path) {
  Task task{.name = stem_of(path), .path = path, .is_choice = false, .items = {}};
  LineReader reader(path);
  std::error_code error;
  if (const auto bytes = fs::file_size(path, error);
      !error && static_cast<int64_t>(bytes) > kMaxTaskBytes)
    fail(ErrorCode::invalid_argument, "{}: {} bytes; {} are allowed", path, bytes, kMaxTaskBytes);
  const fs::path folder = fs::path(path).parent_path();
  std::string line;
  int64_t number = 0;
  while (reader.next(line, number)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    with_context(format("{}: line {}", path, number), [&] {
      if (task.items.size() == kMaxItems)
        fail(ErrorCode::invalid_argument, "a file may have {} questions", kMaxItems);
      TaskItem item = item_of(line, folder);
      item.line = number;
      if (task.items.empty()) task.is_choice = !item.choices.empty();
      expect_one_kind(task, item);
      task.items.push_back(std::move(item));
    });
  }
  if (task.items.empty()) fail(ErrorCode::invalid_argument, "{}: no questions in it", path);
  return task;
}

std::vector<Task> read_tasks(const std::vector<std::string>& paths) {
  if (paths.size() > kMaxTaskFiles)
    fail(ErrorCode::invalid_argument,
         "--tasks: {} files; {} are allowed",
         paths.size(),
         kMaxTaskFiles);
  std::vector<Task> out;
  for (const std::string& path : paths) out.push_back(read_task(path));
  for (Task& task : out)
    if (std::ranges::count(paths, stem_of(task.path), stem_of) > 1) task.name = task.path;
  return out;
}

Json messages_of(const Task& task, const TaskItem& item) {
  Json out = *item.messages;
  inline_pictures(out, fs::path(task.path).parent_path());
  return out;
}

}  // namespace quern::eval
