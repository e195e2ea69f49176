// SPDX-License-Identifier: Apache-2.0
#include "eval/task_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace quern::eval {
namespace {

namespace fs = std::filesystem;

class TaskFile : public ::testing::Test {
 protected:
  TaskFile() {
    std::string name = (fs::temp_directory_path() / "quern-task-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~TaskFile() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  Task read(const std::string& text) const { return read_task(write("t.jsonl", text)); }
  std::string refusal(const std::string& text) const {
    try {
      read(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "";
  }

  fs::path folder_;
};

TEST_F(TaskFile, MultipleChoice) {
  const Task task = read(
      "{\"id\": \"a\", \"prompt\": \"1 + 1 =\", \"choices\": [\" 2\", \" 3\"], \"answer\": 0}\n"
      "\n \t\r\n"
      "{\"prompt\": \"The sky is\", \"choices\": [\" red\", \" blue\"], \"answer\": \" "
      "blue\"}\r\n");
  EXPECT_EQ(task.name, "t");
  EXPECT_TRUE(task.is_choice);
  ASSERT_EQ(task.items.size(), 2u);
  EXPECT_EQ(task.items[0].id, "a");
  EXPECT_EQ(task.items[0].prompt, "1 + 1 =");
  EXPECT_EQ(task.items[0].right_choice, 0u);
  EXPECT_EQ(task.items[1].line, 4);
  EXPECT_EQ(task.items[1].right_choice, 1u);
  EXPECT_EQ(task.where(task.items[1]), task.path + ": line 4");
}

TEST_F(TaskFile, AnswersThatAreGenerated) {
  const Task task = read(
      R"({"prompt": "2 + 2 =", "answer": "4"}
{"messages": [{"role": "user", "content": "Capital of France?"}], "answer": ["Paris", "paris"], "match": "prefix", "max_tokens": 8, "stop": "\n", "ignore_case": true, "subject": "geography"}
{"prompt": "n:", "answer": "\\d+", "match": "regex", "stop": ["a", "b"]})");
  EXPECT_FALSE(task.is_choice);
  ASSERT_EQ(task.items.size(), 3u);
  EXPECT_EQ(task.items[0].match, AnswerMatch::exact);
  EXPECT_EQ(task.items[0].max_tokens, kAnswerTokens);
  EXPECT_EQ(task.items[0].messages, nullptr);
  const TaskItem& chat = task.items[1];
  ASSERT_NE(chat.messages, nullptr);
  EXPECT_EQ(chat.answers.size(), 2u);
  EXPECT_EQ(chat.match, AnswerMatch::prefix);
  EXPECT_EQ(chat.max_tokens, 8);
  EXPECT_TRUE(chat.ignores_case);
  EXPECT_EQ(chat.stop, std::vector<std::string>{"\n"});
  EXPECT_EQ(task.items[2].stop.size(), 2u);
}

TEST_F(TaskFile, ABadLineIsNamedWithItsField) {
  const std::string good = R"({"prompt": "a", "choices": ["b", "c"], "answer": 0})"
                           "\n";
  const std::pair<const char*, const char*> cases[] = {
      {"no json", "line 2"},
      {"[1]", "line 2"},
      {R"({"choices": ["b", "c"], "answer": 0})", "prompt: expected either"},
      {R"({"prompt": "", "choices": ["b", "c"], "answer": 0})", "prompt: expected a text"},
      {R"({"prompt": 3, "choices": ["b", "c"], "answer": 0})", "prompt: expected a text"},
      {R"({"prompt": "a", "messages": [], "answer": "x"})", "prompt: expected either"},
      {R"({"prompt": "a", "choices": ["b", "c"]})", "answer: there is none"},
      {R"({"prompt": "a", "choices": ["b", "c"], "answer": 2})",
       "answer: expected an index from 0 to 1"},
      {R"({"prompt": "a", "choices": ["b", "c"], "answer": -1})", "answer: expected an index"},
      {R"({"prompt": "a", "choices": ["b", "c"], "answer": 0.5})", "answer: expected an index"},
      {R"({"prompt": "a", "choices": ["b", "c"], "answer": "d"})", "none of the choices"},
      {R"({"prompt": "a", "choices": ["b"], "answer": 0})", "at least 2"},
      {R"({"prompt": "a", "choices": ["b", "b"], "answer": 0})", "the same"},
      {R"({"prompt": "a", "choices": ["b", ""], "answer": 0})", "choices[1]"},
      {R"({"prompt": "a", "choices": ["b", 7], "answer": 0})", "choices[1]"},
      {R"({"prompt": "a", "choices": "b", "answer": 0})", "choices: expected a list"},
      {R"({"prompt": "a", "choices": ["b", "c"], "answer": 0, "match": "exact"})",
       "match: it belongs to"},
      {R"({"prompt": "a", "answer": "b"})", "choices: there are none, but earlier lines"},
      {R"({"prompt": "a", "choises": ["b", "c"], "answer": "b"})", "choises"},
  };
  for (const auto& [line, said] : cases) {
    const std::string refused = refusal(good + line + "\n");
    EXPECT_NE(refused.find("t.jsonl: line 2"), std::string::npos) << line << ": " << refused;
    EXPECT_NE(refused.find(said), std::string::npos) << line << ": " << refused;
  }
  const std::pair<const char*, const char*> answers[] = {
      {R"({"prompt": "a", "answer": 3})", "answer: expected a list"},
      {R"({"prompt": "a", "answer": []})", "answer: expected a list"},
      {R"({"prompt": "a", "answer": "  "})", "answer: nothing but blanks"},
      {R"({"prompt": "a", "answer": "b", "match": "fuzzy"})",
       "match: expected exact, prefix or regex"},
      {R"({"prompt": "a", "answer": "(", "match": "regex"})", "answer:"},
      {R"({"prompt": "a", "answer": "b", "max_tokens": 0})", "max_tokens"},
      {R"({"prompt": "a", "answer": "b", "max_tokens": 1000000})", "max_tokens"},
      {R"({"prompt": "a", "answer": "b", "stop": []})", "stop"},
      {R"({"messages": [{"role": "user", "content": "x"}, 5], "answer": "b"})", "messages[1]"},
      {R"({"messages": "hello", "answer": "b"})", "messages"},
      {R"({"prompt": "a", "choices": ["b", "c"], "answer": 0})", "choices: there are some"},
  };
  for (const auto& [line, said] : answers) {
    const std::string refused =
        refusal(std::string(R"({"prompt": "a", "answer": "b"})") + "\n" + line);
    EXPECT_NE(refused.find("t.jsonl: line 2"), std::string::npos) << line << ": " << refused;
    EXPECT_NE(refused.find(said), std::string::npos) << line << ": " << refused;
  }
}

TEST_F(TaskFile, WhatIsTooLargeIsRefused) {
  Json line = {{"prompt", "a"}, {"choices", Json::array()}, {"answer", 0}};
  for (size_t i = 0; i <= kMaxChoices; ++i) line["choices"].push_back(std::to_string(i));
  EXPECT_NE(refusal(line.dump()).find("list of 1 to 64"), std::string::npos);
  line = {{"prompt", "a"}, {"answer", std::string(kMaxAnswerBytes + 1, 'x')}};
  EXPECT_NE(refusal(line.dump()).find("65536 bytes"), std::string::npos);
  EXPECT_NE(refusal(std::string(300, '[') + std::string(300, ']')).find("line 1"),
            std::string::npos);
  EXPECT_NE(refusal("\n\n").find("no questions"), std::string::npos);
  EXPECT_THROW(read_task((folder_ / "none.jsonl").string()), Error);
  EXPECT_THROW(read_tasks(std::vector<std::string>(kMaxTaskFiles + 1, "x")), Error);
}

std::string with_picture(const std::string& url) {
  return Json{{"messages",
               {{{"role", "user"},
                 {"content",
                  {{{"type", "image_url"}, {"image_url", {{"url", url}}}},
                   {{"type", "text"}, {"text", "What is it?"}}}}}}},
              {"answer", "a cat"}}
      .dump();
}

TEST_F(TaskFile, PicturesLieBesideTheFile) {
  write("pictures/cat.PNG", "not really");
  const Task task = read(with_picture("pictures/cat.PNG") + "\n" + with_picture("data:,x") + "\n" +
                         with_picture("https://example.com/x.png"));
  const auto url = [&](size_t i) {
    return messages_of(task, task.items[i])[0]["content"][0]["image_url"]["url"].get<std::string>();
  };
  EXPECT_EQ(url(0), "data:image/png;base64,bm90IHJlYWxseQ==");
  EXPECT_EQ(url(1), "data:,x");
  EXPECT_EQ(url(2), "https://example.com/x.png");
}

TEST_F(TaskFile, PicturesElsewhereAreRefused) {
  write("other/x.png", "x");
  const std::string inside = write("tasks/t.jsonl", with_picture("../other/x.png"));
  EXPECT_THROW(read_task(inside), Error);
  fs::create_symlink(folder_ / "other", folder_ / "tasks/link");
  write("tasks/t.jsonl", with_picture("link/x.png"));
  EXPECT_THROW(read_task(inside), Error);
  for (const std::string& url :
       {std::string("none.png"), std::string("/etc/passwd"), std::string(".")})
    EXPECT_NE(refusal(with_picture(url)).find("messages[0].content[0]"), std::string::npos) << url;
  Json clip = parse_json(with_picture("data:,x"), "line");
  clip["messages"][0]["content"][0] = {{"type", "video"}, {"video", {"data:,x"}}};
  EXPECT_NE(refusal(clip.dump()).find("tasks take text and pictures"), std::string::npos);
}

TEST_F(TaskFile, FilesOfOneNameKeepTheirPaths) {
  const std::string line = R"({"prompt": "a", "answer": "b"})";
  const std::vector<std::string> paths = {
      write("a/x.jsonl", line), write("b/x.jsonl", line), write("y.jsonl", line)};
  const std::vector<Task> tasks = read_tasks(paths);
  EXPECT_EQ(tasks[0].name, paths[0]);
  EXPECT_EQ(tasks[1].name, paths[1]);
  EXPECT_EQ(tasks[2].name, "y");
}

}  // namespace
}  // namespace quern::eval
