// SPDX-License-Identifier: Apache-2.0
// Constraints on tool calls: in which dialect they are written, and, for calls between special
// tokens, what their grammar accepts.
#include "api/parsers/tool_constraint.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/json.h"
#include "sampling/grammar/grammar_compiler.h"

namespace quern {
namespace {

using Mode = ToolChoice::Mode;

const SpecialTokens kNoTokens;

TEST(ToolConstraint, IsWrittenInTheDialectWhereItCanBe) {
  const Json tools = parse_json(
      R"([{"type": "function", "function": {"name": "f", "strict": true, "parameters": {"type": "object"}}}])",
      "tools");
  ToolChoice choice{Mode::required, {}};
  const ToolConstraintRequest request{
      .tools = tools, .choice = choice, .special_tokens = kNoTokens};
  for (const char* native : {"hermes", "kimi_k2"}) {
    const auto calls = tool_constraint(native, request);
    ASSERT_TRUE(calls.has_value());
    EXPECT_TRUE(calls->is_in_dialect) << native;
  }
  EXPECT_NE(tool_constraint("hermes", request)->spec.text.find("<tool_call>"), std::string::npos);
  for (const char* other : {"none", "glm45", "pythonic"}) {
    const auto json = tool_constraint(other, request);
    ASSERT_TRUE(json.has_value());
    EXPECT_FALSE(json->is_in_dialect) << other;
  }
  choice.mode = Mode::automatic;
  EXPECT_TRUE(tool_constraint("hermes", request).has_value());  // strict
  EXPECT_FALSE(tool_constraint("glm45", request).has_value());
  EXPECT_FALSE(tool_constraint("kimi_k2", request).has_value());  // its marks are not tokens here
  choice.mode = Mode::none;
  EXPECT_FALSE(tool_constraint("hermes", request).has_value());
}

// A vocabulary whose marks of calls are special tokens.
class KimiConstraint : public ::testing::Test {
 protected:
  struct Ask {
    Mode mode = Mode::required;
    std::string name = {};
    bool is_parallel = true, has_reasoning = false;
    int64_t calls_before = 0;
  };

  std::shared_ptr<const Grammar> grammar(const Ask& ask) const {
    const ToolChoice choice{ask.mode, ask.name};
    const auto constraint = tool_constraint("kimi_k2",
                                            {.tools = tools_,
                                             .choice = choice,
                                             .is_parallel = ask.is_parallel,
                                             .has_reasoning = ask.has_reasoning,
                                             .special_tokens = dialects_.tool_markers,
                                             .calls_before = ask.calls_before});
    return compiler_.compile(constraint.value().spec);
  }
  // Marks in the text are their special tokens.
  bool accepts(const Ask& ask, const std::string& text) const {
    const auto state = grammar(ask)->start();
    for (const int32_t id : tokenizer_.encode(text, {.parse_special = true}))
      if (!state->accept(id)) return false;
    return state->accept(end_) && state->is_finished();
  }
  static std::string call(const std::string& id, const std::string& arguments) {
    return "<|tool_call_begin|>" + id + "<|tool_call_argument_begin|>" + arguments +
           "<|tool_call_end|>";
  }
  static std::string section(const std::string& calls) {
    return "<|tool_calls_section_begin|>" + calls + "<|tool_calls_section_end|>";
  }

  const Json tools_ = parse_json(R"([
    {"type": "function", "function": {"name": "weather", "strict": true, "parameters": {"type": "object",
     "additionalProperties": false, "required": ["city"], "properties": {"city": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "stop"}}])",
                                 "tools");
  const Tokenizer tokenizer_ =
      Tokenizer::from_folder(std::string(QUERN_SOURCE_DIR) + "/tests/golden/tokenizer_kimi");
  const int32_t end_ = tokenizer_.token_to_id("<|im_end|>").value();
  const AnswerDialects dialects_ = AnswerDialects::choose("kimi_k2", "none", "", tokenizer_);
  const GrammarCompiler compiler_{tokenizer_, {end_}};
};

TEST_F(KimiConstraint, ForcedCallsAreNumberedOn) {
  const std::string oslo = R"({"city": "Oslo"})";
  EXPECT_TRUE(accepts({}, section(call("functions.weather:0", oslo))));
  EXPECT_TRUE(accepts({.calls_before = 41}, section(call("functions.weather:41", oslo))));
  EXPECT_FALSE(accepts({.calls_before = 41}, section(call("functions.weather:0", oslo))));
  EXPECT_TRUE(
      accepts({.calls_before = 9},
              section(call("functions.weather:9", oslo) + call("functions.stop:10", "{}"))));
  EXPECT_FALSE(
      accepts({.calls_before = 9},
              section(call("functions.weather:9", oslo) + call("functions.stop:9", "{}"))));
  EXPECT_FALSE(accepts({}, section("")));
  EXPECT_FALSE(accepts({}, "Oslo."));
}

TEST_F(KimiConstraint, ArgumentsObeyTheSchemaAndHoldNoSpecialTokens) {
  EXPECT_FALSE(accepts({}, section(call("functions.weather:0", R"({"city": 3})"))));
  EXPECT_FALSE(accepts({}, section(call("functions.weather:0", "{}"))));
  EXPECT_FALSE(accepts({}, section(call("functions.weather:0", R"({"city": "<|im_user|>"})"))));
  EXPECT_FALSE(accepts({}, section(call("functions.stop:0", R"({"now": true})"))));
}

TEST_F(KimiConstraint, OneCallWhereOneIsAskedFor) {
  const std::string two = section(call("functions.stop:0", "{}") + call("functions.stop:1", "{}"));
  EXPECT_TRUE(accepts({}, two));
  EXPECT_FALSE(accepts({.is_parallel = false}, two));
  EXPECT_FALSE(accepts({.mode = Mode::named, .name = "stop"}, two));
  EXPECT_FALSE(
      accepts({.mode = Mode::named, .name = "weather"}, section(call("functions.stop:0", "{}"))));
}

TEST_F(KimiConstraint, ReasoningMayStandInFront) {
  const std::string stop = section(call("functions.stop:0", "{}"));
  EXPECT_TRUE(accepts({.has_reasoning = true}, "<think>Enough.</think>" + stop));
  EXPECT_TRUE(accepts({.has_reasoning = true}, stop));
  for (const char* thought :
       {"", "<", "</", "</thin", "<</think", "a </b> c\n</thinK>", "</t</th<"})
    EXPECT_TRUE(accepts({.has_reasoning = true}, format("<think>{}</think>", thought) + stop))
        << thought;
  EXPECT_FALSE(accepts({.has_reasoning = true}, "<think>a</think>b</think>" + stop));
  EXPECT_FALSE(accepts({}, "<think>Enough.</think>" + stop));
  EXPECT_FALSE(accepts({.has_reasoning = true}, "<think>Enough.<|im_user|></think>" + stop));
  EXPECT_FALSE(accepts({.has_reasoning = true}, "<think><|tool_call_begin|></think>" + stop));
}

TEST_F(KimiConstraint, StrictToolsAreHeldToTheirSchemaInTheMidstOfText) {
  const Ask automatic{.mode = Mode::automatic};
  EXPECT_TRUE(accepts(automatic, "It rains."));
  EXPECT_TRUE(accepts(automatic,
                      "Let me see." + section(call("functions.weather:0", R"({"city": "Oslo"})"))));
  EXPECT_TRUE(
      accepts(automatic, section(call("functions.stop:0", R"({"any": 1})"))));  // not strict
  EXPECT_FALSE(accepts(automatic, section(call("functions.weather:0", R"({"town": "Oslo"})"))));
  // No call goes past the section, and text is text.
  EXPECT_FALSE(accepts(automatic, "See " + call("functions.weather:0", "{}")));
  EXPECT_FALSE(accepts(automatic, "It <|im_user|> rains."));
}

}  // namespace
}  // namespace quern
