// SPDX-License-Identifier: Apache-2.0
// Recorded answers (tests/data/answers) in every dialect: what they are read as, and that no cut
// changes it.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "api/parsers/dialect_parser.h"
#include "api/parsers/registry.h"
#include "base/error.h"

namespace quern {
namespace {

struct Recording {
  std::string dialect, what, text;
  std::shared_ptr<const ToolDialect> tools;
  DialectParser::Options options;
  Json expected;
};

void read_file_of(const std::filesystem::path& path, std::vector<Recording>& out) {
  const Json file = read_json_file(path.string());
  DialectParser::Options options;
  options.tools = ToolSet(std::make_shared<const Json>(file.at("tools")));
  options.reasoning = reasoning_family_of(file.at("reasoning_parser").get<std::string>());
  const std::shared_ptr<const ToolDialect> tools =
      tool_dialect_of(file.at("tool_parser").get<std::string>());
  options.dialect = tools.get();
  for (const Json& answer : file.at("answers"))
    out.push_back({path.stem().string(),
                   answer.at("what").get<std::string>(),
                   answer.at("text").get<std::string>(),
                   tools,
                   options,
                   answer});
}

const std::vector<Recording>& recordings() {
  static const std::vector<Recording> all = [] {
    std::vector<Recording> out;
    const std::filesystem::path folder = std::string(QUERN_SOURCE_DIR) + "/tests/data/answers";
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      read_file_of(entry.path(), out);
    return out;
  }();
  return all;
}

// Deltas joined: texts one behind the other, and the pieces of each call.
struct Joined {
  std::string reasoning, content;
  std::vector<ToolCallDelta> calls;
  bool operator==(const Joined&) const = default;

  void add(const AnswerDelta& delta) {
    reasoning += delta.reasoning;
    content += delta.content;
    for (const ToolCallDelta& piece : delta.tool_calls) {
      if (piece.index == static_cast<int>(calls.size())) {
        EXPECT_FALSE(piece.id.empty());
        EXPECT_FALSE(piece.name.empty());
        calls.push_back(piece);
        continue;
      }
      ASSERT_EQ(piece.index, static_cast<int>(calls.size()) - 1);
      EXPECT_TRUE(piece.id.empty() && piece.name.empty());
      calls.back().arguments += piece.arguments;
    }
  }
};

// `cuts`, ascending: where one piece ends and the next begins.
Joined read(const DialectParser::Options& options,
            std::string_view text,
            const std::vector<size_t>& cuts) {
  DialectParser parser(options);
  Joined out;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    out.add(parser.push(text.substr(begin, cut - begin)));
    begin = cut;
  }
  out.add(parser.push(text.substr(begin)));
  out.add(parser.finish());
  return out;
}

Joined read(const Recording& recording) {
  return read(recording.options, recording.text, {});
}

std::string name_of(const Recording& recording) {
  return recording.dialect + ": " + recording.what;
}

TEST(AnswerParser, ReadsRecordedAnswers) {
  for (const Recording& recording : recordings()) {
    SCOPED_TRACE(name_of(recording));
    const Joined whole = read(recording);
    EXPECT_EQ(whole.reasoning, recording.expected.at("reasoning").get<std::string>());
    EXPECT_EQ(whole.content, recording.expected.at("content").get<std::string>());
    const Json& calls = recording.expected.at("calls");
    ASSERT_EQ(whole.calls.size(), calls.size());
    for (size_t i = 0; i < calls.size(); ++i) {
      EXPECT_EQ(whole.calls[i].name, calls[i].at("name").get<std::string>());
      if (calls[i].contains("id")) {
        EXPECT_EQ(whole.calls[i].id, calls[i].at("id").get<std::string>());
      }
      if (calls[i].contains("text")) {  // cut off or broken: as the model wrote it
        EXPECT_EQ(whole.calls[i].arguments, calls[i].at("text").get<std::string>());
      } else {
        EXPECT_EQ(parse_json(whole.calls[i].arguments, "arguments"), calls[i].at("arguments"))
            << whole.calls[i].arguments;
      }
    }
  }
}

TEST(AnswerParser, HoldsEnoughRecordingsOfEachDialect) {
  std::map<std::string, int> counts;
  for (const Recording& recording : recordings()) ++counts[recording.dialect];
  EXPECT_GE(counts.size(), 12u);
  for (const auto& [dialect, count] : counts) EXPECT_GE(count, 8) << dialect;
}

TEST(AnswerParser, NoCutChangesAnAnswer) {
  constexpr size_t kShortBytes = 120;  // up to here, every pair of cuts
  size_t compared = 0, different = 0;
  for (const Recording& recording : recordings()) {
    const Joined whole = read(recording);
    const auto compare = [&](const std::vector<size_t>& cuts) {
      ++compared;
      if (read(recording.options, recording.text, cuts) == whole) return;
      if (++different <= 10) ADD_FAILURE() << name_of(recording) << ", cut at " << cuts.front();
    };
    const size_t size = recording.text.size();
    std::vector<size_t> every_byte;
    for (size_t i = 1; i < size; ++i) {
      compare({i});
      every_byte.push_back(i);
      for (size_t j = i + 1; size <= kShortBytes && j < size; ++j) compare({i, j});
    }
    if (!every_byte.empty()) compare(every_byte);
  }
  EXPECT_EQ(different, 0u);
  EXPECT_GT(compared, 50'000u);
  std::printf("%zu recorded answers, %zu ways to cut them compared, %zu different\n",
              recordings().size(),
              compared,
              different);
}

DialectParser::Options options_of(const std::shared_ptr<const ToolDialect>& dialect) {
  DialectParser::Options options;
  options.dialect = dialect.get();
  return options;
}

constexpr std::string_view kTwoCalls =
    "a<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>\n"
    "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>b";

TEST(AnswerParser, CallsBeyondTheLimitAreText) {
  const auto dialect = tool_dialect_of("hermes");
  auto options = options_of(dialect);
  options.limits.max_calls = 1;
  const Joined answer = read(options, kTwoCalls, {});
  EXPECT_EQ(answer.calls.size(), 1u);
  EXPECT_EQ(answer.content, "a\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>b");
}

TEST(AnswerParser, IsCompleteAfterTheOnlyCallAllowed) {
  const auto dialect = tool_dialect_of("hermes");
  auto options = options_of(dialect);
  options.limits.max_calls = 1;
  options.ends_after_calls = true;
  DialectParser parser(options);
  Joined answer;
  answer.add(parser.push(kTwoCalls.substr(0, 20)));
  EXPECT_FALSE(parser.is_complete());
  answer.add(parser.push(kTwoCalls.substr(20)));
  EXPECT_TRUE(parser.is_complete());
  answer.add(parser.finish());
  EXPECT_EQ(answer.calls.size(), 1u);
  EXPECT_EQ(answer.content, "a");  // what follows belongs to no answer
}

TEST(AnswerParser, ALongCallIsCompleteOnlyAtItsEnd) {
  const auto dialect = tool_dialect_of("hermes");
  auto options = options_of(dialect);
  options.limits.max_calls = 1;
  options.ends_after_calls = true;
  DialectParser parser(options);
  Joined answer;
  const std::string arguments = "{\"x\": \"" + std::string(1000, 'x') + "\"}";
  const std::string text = "<tool_call>{\"name\": \"f\", \"arguments\": " + arguments + "}";
  for (const char c : text) {  // shown long before
    EXPECT_FALSE(parser.is_complete());
    answer.add(parser.push(std::string(1, c)));
  }
  EXPECT_TRUE(parser.is_complete());
  answer.add(parser.finish());
  EXPECT_EQ(answer.calls.at(0).arguments, arguments);
}

TEST(AnswerParser, DepthIsBounded) {
  const auto dialect = tool_dialect_of("hermes");
  const std::string deep =
      "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": " + std::string(100000, '[') +
      std::string(100000, ']') + "}}</tool_call>";
  const Joined answer = read(options_of(dialect), deep, {});
  EXPECT_TRUE(answer.calls.empty());
  EXPECT_EQ(answer.content, deep);
}

TEST(AnswerParser, IdsDifferByAnswerAndCall) {
  const auto dialect = tool_dialect_of("hermes");
  auto options = options_of(dialect);
  const Joined one = read(options, kTwoCalls, {});
  options.limits.id_seed = 1;
  const Joined other = read(options, kTwoCalls, {});
  ASSERT_EQ(one.calls.size(), 2u);
  EXPECT_TRUE(one.calls[0].id.starts_with("call_"));
  EXPECT_NE(one.calls[0].id, one.calls[1].id);
  EXPECT_NE(one.calls[0].id, other.calls[0].id);
}

TEST(AnswerParser, LongArgumentsAreShownBeforeTheyEnd) {
  const auto dialect = tool_dialect_of("hermes");
  DialectParser parser(options_of(dialect));
  parser.push("<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"");
  EXPECT_TRUE(parser.push("short").tool_calls.empty());
  EXPECT_EQ(parser.push(std::string(300, 'x')).tool_calls.size(), 1u);
  EXPECT_EQ(parser.push("more").tool_calls.at(0).arguments, "more");
}

TEST(AnswerParser, PromptSaysWhetherTheAnswerBeginsInThought) {
  EXPECT_EQ(thinking_at_end("<assistant>\n<think>\n"), PromptThinking::open);
  EXPECT_EQ(thinking_at_end("<think>\n\n</think>\n\n"), PromptThinking::closed);
  EXPECT_EQ(thinking_at_end("<think> is a tag\n<assistant>\n"), PromptThinking::unsaid);
  DialectParser::Options options;
  options.reasoning = reasoning_family_of("qwen3");
  options.prompt = PromptThinking::open;
  EXPECT_EQ(read(options, "a\n</think>\n\nb", {}).reasoning, "a");
  options.reasoning = reasoning_family_of("deepseek_r1");
  options.prompt = PromptThinking::closed;
  EXPECT_EQ(read(options, "b", {}).content, "b");
  options.prompt = PromptThinking::open;
  options.shows_reasoning = false;
  const Joined hidden = read(options, "a</think>b", {});
  EXPECT_EQ(hidden.reasoning, "");
  EXPECT_EQ(hidden.content, "b");
}

TEST(Registry, FindsTheDialectInATemplate) {
  const std::pair<const char*, const char*> tools[] = {
      {"<tool_call>\n{\"name\": <function-name>", "hermes"},
      {"<tool_call>{function-name}\n<arg_key>", "glm45"},
      {"<tool_call>\n<function=example>\n<parameter=a>", "qwen3_coder"},
      {"<|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>", "kimi_k2"},
      {"<｜tool▁call▁begin｜>function", "deepseek_v3"},
      {"{%- if message.content %}<|python_tag|>", "llama3_json"},
      {"format of [func_name1(params_name1=", "pythonic"},
      {"{{ messages }}", "none"}};
  for (const auto& [text, name] : tools) EXPECT_EQ(tool_parser_in(text), name) << text;
  EXPECT_EQ(reasoning_parser_in("<|im_start|>assistant\n<think>\n\n</think>"), "qwen3");
  EXPECT_EQ(reasoning_parser_in("[gMASK]<sop> </think>"), "glm45");
  EXPECT_EQ(reasoning_parser_in("<|im_middle|><think></think>"), "kimi_k2");
  EXPECT_EQ(reasoning_parser_in("<｜Assistant｜> </think>"), "deepseek_r1");
  EXPECT_EQ(reasoning_parser_in("{{ messages }}"), "none");
}

TEST(Registry, EveryNameIsKnownAndOthersAreRefused) {
  for (const std::string& name : tool_parser_names()) {
    if (name == kAutoParser) continue;
    EXPECT_EQ(tool_dialect_of(name) == nullptr, name == kNoParser) << name;
  }
  for (const std::string& name : reasoning_parser_names()) {
    if (name == kAutoParser) continue;
    EXPECT_EQ(reasoning_family_of(name).has_value(), name != kNoParser) << name;
  }
  EXPECT_THROW(tool_dialect_of("mistral"), Error);
  EXPECT_THROW(reasoning_family_of("granite"), Error);
}

}  // namespace
}  // namespace quern
