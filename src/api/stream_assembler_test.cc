// SPDX-License-Identifier: Apache-2.0
#include "api/stream_assembler.h"

#include <gtest/gtest.h>

#include "api/scripted_service.h"

namespace quern {
namespace {

const Tokenizer& bytes() {
  static const Tokenizer tokenizer = make_byte_tokenizer();
  return tokenizer;
}

// Byte i of `text` as an event; the last one ends the answer if `finish` says so.
std::vector<TokenEvent> events_of(std::string_view text, FinishReason finish) {
  std::vector<TokenEvent> out;
  for (const char c : text) {
    TokenEvent event;
    event.token = static_cast<unsigned char>(c);
    out.push_back(event);
  }
  if (finish == FinishReason::stop) {
    TokenEvent end;
    end.token = end.stop_token = kScriptedEos;
    out.push_back(end);
  }
  if (!out.empty()) out.back().finish = finish;
  return out;
}

TextDelta whole_of(std::string_view text, FinishReason finish, const TextOptions& options) {
  StreamAssembler assembler(bytes(), options);
  TextDelta whole;
  for (const TokenEvent& event : events_of(text, finish)) whole.append(assembler.push(event));
  return whole;
}

TEST(StopMatcher, FindsTheSameStopForEveryCut) {
  const std::vector<std::string> stops = {"STOP", "TOPS", "ab", "abc"};
  const StopMatcher matcher(stops);
  for (const std::string text : {"xxSTOPSyy", "aab", "xabcx", "nothing", "STSTOP", "SSTOP"}) {
    const auto whole = matcher.find(text, 0);
    for (size_t cut = 0; cut <= text.size(); ++cut) {
      const auto first = matcher.find(text.substr(0, cut), 0);
      const auto match = first ? first : matcher.find(text, cut);
      ASSERT_EQ(match.has_value(), whole.has_value()) << text << " cut at " << cut;
      if (!whole) continue;
      EXPECT_EQ(match->begin, whole->begin) << text << " cut at " << cut;
      EXPECT_EQ(match->end, whole->end) << text << " cut at " << cut;
    }
  }
}

TEST(StopMatcher, HoldsBackTheLongestBeginning) {
  const StopMatcher matcher({"</s>", "s>x"});
  EXPECT_EQ(matcher.held_back("abc"), 0u);
  EXPECT_EQ(matcher.held_back("abc<"), 1u);
  EXPECT_EQ(matcher.held_back("abc</s"), 3u);
  EXPECT_EQ(matcher.held_back("ass>"), 2u);
  EXPECT_EQ(StopMatcher({"\n"}).held_back("abc"), 0u);
}

TEST(StreamAssembler, NeverEmitsPartOfAStopString) {
  const TextOptions options{.stop = {"END!", "DONE"}, .stop_token_ids = {}};
  StreamAssembler assembler(bytes(), options);
  std::string text;
  for (const TokenEvent& event : events_of("Go on, EN END now END! more", FinishReason::stop)) {
    text += assembler.push(event).text;
    for (const std::string_view part : {"END!", "END"})
      if (text.ends_with(part)) ADD_FAILURE() << "gave out " << text;
    if (assembler.is_finished()) break;
  }
  EXPECT_EQ(text, "Go on, EN END now ");
  EXPECT_TRUE(assembler.has_stopped_early());
}

TEST(StreamAssembler, SaysWhichStringStopped) {
  const TextDelta whole = whole_of(
      "one two three", FinishReason::stop, {.stop = {"three", "two"}, .stop_token_ids = {}});
  EXPECT_EQ(whole.text, "one ");
  EXPECT_EQ(whole.finish, FinishReason::stop);
  EXPECT_EQ(std::get<std::string>(whole.stop_reason), "two");
  const TextDelta with = whole_of("one two three",
                                  FinishReason::stop,
                                  {.stop = {"two"}, .include_stop = true, .stop_token_ids = {}});
  EXPECT_EQ(with.text, "one two");
}

TEST(StreamAssembler, GivesHeldBackTextWhenTheAnswerEnds) {
  for (const FinishReason finish : {FinishReason::length, FinishReason::stop})
    EXPECT_EQ(whole_of("text EN", finish, {.stop = {"END"}, .stop_token_ids = {}}).text, "text EN");
}

TEST(StreamAssembler, GivesWholeCharactersOnly) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
  StreamAssembler assembler(bytes(), {});
  std::string joined;
  for (const TokenEvent& event : events_of(text, FinishReason::stop)) {
    const TextDelta delta = assembler.push(event);
    // No byte sequence that begins or ends inside a character.
    if (!delta.text.empty()) {
      EXPECT_NE(static_cast<unsigned char>(delta.text[0]) & 0xC0, 0x80);
    }
    joined += delta.text;
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(whole_of("a\xE2\x82", FinishReason::length, {}).text, "a\xEF\xBF\xBD");
}

TEST(StreamAssembler, TokensComeWithTheirText) {
  StreamAssembler assembler(bytes(), {.stop = {"xyz"}, .stop_token_ids = {}});
  const auto events = events_of("axy!", FinishReason::length);
  EXPECT_EQ(assembler.push(events[0]).tokens, std::vector<int32_t>({'a'}));
  EXPECT_TRUE(assembler.push(events[1]).is_empty());
  EXPECT_TRUE(assembler.push(events[2]).is_empty());
  const TextDelta rest = assembler.push(events[3]);
  EXPECT_EQ(rest.text, "xy!");
  EXPECT_EQ(rest.tokens, std::vector<int32_t>({'x', 'y', '!'}));
  EXPECT_EQ(assembler.token_count(), 4);
}

TEST(StreamAssembler, MinTokensPutOffStopStrings) {
  const TextDelta whole = whole_of(
      "ab ab ab", FinishReason::stop, {.stop = {"ab"}, .stop_token_ids = {}, .min_tokens = 4});
  EXPECT_EQ(whole.text, "ab ");
  EXPECT_EQ(whole_of("ab ab ab", FinishReason::stop, {.stop = {"ab"}, .stop_token_ids = {}}).text,
            "");
}

TEST(StreamAssembler, NamesTheStopTokenThatTheRequestNamed) {
  TextOptions options;
  EXPECT_TRUE(std::holds_alternative<std::monostate>(
      whole_of("hi", FinishReason::stop, options).stop_reason));
  options.stop_token_ids = {kScriptedEos};
  EXPECT_EQ(std::get<int32_t>(whole_of("hi", FinishReason::stop, options).stop_reason),
            kScriptedEos);
  options.skip_special_tokens = false;
  EXPECT_EQ(whole_of("hi", FinishReason::stop, options).text, "hi");
  options.include_stop = true;
  EXPECT_EQ(whole_of("hi", FinishReason::stop, options).text, "hi<eos>");
}

TEST(StreamAssembler, ScoresCarryOffsetsInCharacters) {
  StreamAssembler assembler(bytes(), {});
  TextDelta whole;
  for (TokenEvent event : events_of("\xC3\xA9z", FinishReason::length)) {
    event.logprobs = {{event.token, -1.0f}, {'q', -std::numeric_limits<float>::infinity()}};
    whole.append(assembler.push(event));
  }
  ASSERT_EQ(whole.scores.size(), 3u);
  EXPECT_EQ(whole.scores[2].text_offset, 1);
  EXPECT_EQ(whole.scores[2].chosen.text, "z");
  EXPECT_EQ(whole.scores[0].chosen.bytes, "\xC3");
  EXPECT_EQ(whole.scores[0].top.at(0).logprob, -9999.0f);  // JSON has no infinity
}

TEST(TextDelta, JoinsThePiecesOfOneCall) {
  TextDelta whole;
  TextDelta first, second;
  first.reasoning = "so ";
  first.tool_calls = {{0, "call_a", "f", "{\"x\""}, {1, "call_b", "g", ""}};
  second.reasoning = "be it";
  second.tool_calls = {{1, "", "", "{}"}, {2, "call_c", "h", "{"}};
  whole.append(std::move(first));
  whole.append(std::move(second));
  EXPECT_EQ(whole.reasoning, "so be it");
  const std::vector<ToolCallDelta> expected = {
      {0, "call_a", "f", "{\"x\""}, {1, "call_b", "g", "{}"}, {2, "call_c", "h", "{"}};
  EXPECT_EQ(whole.tool_calls, expected);
  EXPECT_FALSE(whole.shows_nothing());
  EXPECT_TRUE(TextDelta().is_empty());
}

TEST(StreamAssembler, FailureEndsAnAnswer) {
  StreamAssembler assembler(bytes(), {});
  TokenEvent event;
  event.finish = FinishReason::error;
  event.error = "the step failed";
  event.error_code = ErrorCode::unavailable;
  const TextDelta delta = assembler.push(event);
  EXPECT_EQ(delta.error, "the step failed");
  EXPECT_EQ(delta.error_code, ErrorCode::unavailable);
  EXPECT_TRUE(assembler.push(event).is_empty());
}

}  // namespace
}  // namespace quern
