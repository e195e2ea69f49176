// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/registry.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

struct ToolParserName {
  std::string_view name;
  std::unique_ptr<const ToolDialect> (*make)();
};

// The names are vLLM's, aliases among them.
constexpr ToolParserName kToolParsers[] = {{"hermes", make_hermes},
                                           {"qwen3_json", make_hermes},
                                           {"glm45", make_glm45},
                                           {"glm47", make_glm45},
                                           {"kimi_k2", make_kimi_k2},
                                           {"llama3_json", make_llama3_json},
                                           {"llama4_json", make_llama3_json},
                                           {"deepseek_v3", make_deepseek_v3},
                                           {"deepseek_v31", make_deepseek_v3},
                                           {"qwen3_coder", make_qwen3_coder},
                                           {"qwen3_xml", make_qwen3_coder},
                                           {"pythonic", make_pythonic},
                                           {"llama4_pythonic", make_pythonic},
                                           {"autoglm", make_autoglm},
                                           {"json", make_json_array}};

struct ReasoningParserName {
  std::string_view name;
  ReasoningFamily family;
};

constexpr ReasoningParserName kReasoningParsers[] = {
    {"deepseek_r1", {.begins_inside = true}},
    {"deepseek_v3", {}},
    {"qwen3", {}},
    {"glm45", {}},
    {"glm4v", {.has_answer_tags = true}},
    {"glm47", {}},
    {"kimi_k2", {}},
    {"spark", {.begin = "<unused6>", .end = "<unused7>", .thinks_before_constraint = true}}};

// A template that holds `text` is of this parser; the first that fits counts.
struct Sign {
  std::string_view text, parser;
};

constexpr Sign kToolSigns[] = {{"<|tool_call_argument_begin|>", "kimi_k2"},
                               {"<｜tool▁call▁begin｜>", "deepseek_v3"},
                               {"<arg_key>", "glm45"},
                               {"<function=", "qwen3_coder"},
                               {"<tool_call>", "hermes"},
                               {"<|python_start|>", "pythonic"},
                               {"[func_name1(", "pythonic"},
                               {"<|python_tag|>", "llama3_json"},
                               {"{\"name\": function name, \"parameters\":", "llama3_json"}};

constexpr Sign kThinkingSigns[] = {{"<|im_middle|>", "kimi_k2"},
                                   {"[gMASK]", "glm45"},
                                   {"<｜Assistant｜><think>", "deepseek_r1"},
                                   {"<｜Assistant｜>", "deepseek_r1"},
                                   {"", "qwen3"}};

// iFlytek's templates need not show the marks of thoughts: its turns and its vocabulary do. Other
// vocabularies have tokens of these names too.
constexpr std::string_view kSpark = "spark", kSparkEnd = "<unused7>";

bool is_spark(std::string_view chat_template, const Tokenizer& tokenizer) {
  return chat_template.find("<Bot>") != std::string_view::npos &&
         tokenizer.token_to_id("<unused6>") && tokenizer.token_to_id(kSparkEnd);
}

template <typename Names>
std::vector<std::string> names_of(const Names& entries) {
  std::vector<std::string> out = {std::string(kAutoParser), std::string(kNoParser)};
  for (const auto& entry : entries) out.emplace_back(entry.name);
  return out;
}

template <typename Names>
[[noreturn]] void fail_unknown(std::string_view what, std::string_view name, const Names& entries) {
  std::string known;
  for (const std::string& one : names_of(entries)) known += known.empty() ? one : ", " + one;
  fail(ErrorCode::invalid_argument,
       "--{}: \"{}\" is none of the parsers here: {}",
       what,
       name.substr(0, 64),
       known);
}

std::string_view sign_in(std::string_view text, std::span<const Sign> signs) {
  const auto sign = std::find_if(signs.begin(), signs.end(), [&](const Sign& s) {
    return text.find(s.text) != std::string_view::npos;
  });
  return sign == signs.end() ? kNoParser : sign->parser;
}

std::vector<int32_t> special_ids_of(const std::vector<std::string>& texts,
                                    const Tokenizer& tokenizer) {
  std::vector<int32_t> out;
  for (const std::string& text : texts)
    if (const auto id = tokenizer.token_to_id(text); id && tokenizer.is_special(*id))
      out.push_back(*id);
  return out;
}

}  // namespace

std::vector<std::string> tool_parser_names() {
  return names_of(kToolParsers);
}

std::vector<std::string> reasoning_parser_names() {
  return names_of(kReasoningParsers);
}

std::shared_ptr<const ToolDialect> tool_dialect_of(std::string_view name) {
  if (name == kNoParser) return nullptr;
  for (const ToolParserName& entry : kToolParsers)
    if (entry.name == name) return entry.make();
  fail_unknown("tool-call-parser", name, kToolParsers);
}

std::optional<ReasoningFamily> reasoning_family_of(std::string_view name) {
  if (name == kNoParser || name.empty()) return std::nullopt;
  for (const ReasoningParserName& entry : kReasoningParsers)
    if (entry.name == name) return entry.family;
  fail_unknown("reasoning-parser", name, kReasoningParsers);
}

std::string_view tool_parser_in(std::string_view chat_template) {
  return sign_in(chat_template, kToolSigns);
}

std::string_view reasoning_parser_in(std::string_view chat_template) {
  if (chat_template.find(kSparkEnd) != std::string_view::npos) return kSpark;
  if (chat_template.find(kThinkEnd) == std::string_view::npos) return kNoParser;
  return sign_in(chat_template, kThinkingSigns);
}

AnswerDialects AnswerDialects::choose(std::string_view tool_parser,
                                      std::string_view reasoning_parser,
                                      std::string_view chat_template,
                                      const Tokenizer& tokenizer) {
  if (tool_parser == kAutoParser) tool_parser = tool_parser_in(chat_template);
  if (reasoning_parser == kAutoParser)
    reasoning_parser =
        is_spark(chat_template, tokenizer) ? kSpark : reasoning_parser_in(chat_template);
  AnswerDialects out;
  out.tool_parser = tool_parser;
  out.reasoning_parser = reasoning_parser.empty() ? kNoParser : reasoning_parser;
  out.tools = tool_dialect_of(tool_parser);
  out.fallback = make_json_array();
  out.reasoning = reasoning_family_of(reasoning_parser);
  if (out.tools) {
    std::vector<std::string> texts = out.tools->markers();
    for (std::string& text : out.tools->inner_markers()) texts.push_back(std::move(text));
    for (const std::string& text : texts)
      for (const int32_t id : special_ids_of({text}, tokenizer)) out.tool_markers[text] = id;
  }
  if (out.reasoning)
    out.reasoning_markers = special_ids_of(
        {std::string(out.reasoning->begin), std::string(out.reasoning->end)}, tokenizer);
  if (out.reasoning && out.reasoning->has_answer_tags)
    for (const int32_t id :
         special_ids_of({std::string(kAnswerBegin), std::string(kAnswerEnd)}, tokenizer))
      out.reasoning_markers.push_back(id);
  return out;
}

}  // namespace quern
