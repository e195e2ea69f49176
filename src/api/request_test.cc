// SPDX-License-Identifier: Apache-2.0
// Requests as they come over the wire: fields, bounds, and what they resolve to.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/completion_request.h"
#include "api/scripted_service.h"

namespace quern {
namespace {

Json parse(std::string_view text) {
  return parse_json(text, "request body");
}

ChatRequest chat_with(const std::string& fields) {
  return ChatRequest::parse(
      parse(R"({"model": "m", "messages": [{"role": "user", "content": "hi"}])" +
            (fields.empty() ? "" : ", " + fields) + "}"));
}

CompletionRequest completion_with(const std::string& fields) {
  return CompletionRequest::parse(
      parse(R"({"model": "m", "prompt": "hi")" + (fields.empty() ? "" : ", " + fields) + "}"));
}

// The field that an error names; "no error" if there is none.
template <typename Body>
std::string field_of(Body&& body) {
  try {
    body();
  } catch (const RequestError& e) {
    EXPECT_FALSE(std::string(e.what()).empty());
    return e.param();
  }
  return "no error";
}

std::string chat_error(const std::string& fields) {
  return field_of([&] { chat_with(fields); });
}

TEST(ChatRequest, ReadsEverySamplingField) {
  const ChatRequest r = chat_with(
      R"("temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "seed": -7, "n": 3, "stop": ["a", "b"],
      "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.1, "min_tokens": 2, "max_tokens": 9, "ignore_eos": true,
      "stop_token_ids": [5], "logit_bias": {"7": -100}, "allowed_token_ids": [1, 2], "bad_words": ["x"], "skip_special_tokens": false,
      "include_stop_str_in_output": true, "logprobs": true, "top_logprobs": 4, "priority": -3, "return_token_ids": true)");
  const SamplingFields& s = r.sampling;
  EXPECT_EQ(s.temperature, 0.5);
  EXPECT_EQ(s.top_p, 0.9);
  EXPECT_EQ(s.top_k, 40);
  EXPECT_EQ(s.min_p, 0.05);
  EXPECT_EQ(s.seed, static_cast<uint64_t>(-7));
  EXPECT_EQ(s.n, 3);
  EXPECT_EQ(s.presence_penalty, 1);
  EXPECT_EQ(s.frequency_penalty, -1);
  EXPECT_EQ(s.repetition_penalty, 1.1);
  EXPECT_EQ(s.min_tokens, 2);
  EXPECT_EQ(s.max_tokens, 9);
  EXPECT_EQ(s.logprobs, 4);
  EXPECT_EQ(s.priority, -3);
  EXPECT_TRUE(s.ignore_eos && s.return_token_ids && s.text.include_stop &&
              !s.text.skip_special_tokens);
  EXPECT_EQ(s.text.stop, std::vector<std::string>({"a", "b"}));
  EXPECT_EQ(s.text.stop_token_ids, std::vector<int32_t>({5}));
  EXPECT_EQ(s.allowed_token_ids, std::vector<int32_t>({1, 2}));
  EXPECT_EQ(s.bad_words, std::vector<std::string>({"x"}));
  EXPECT_EQ(s.logit_bias.at(0), std::make_pair(7, -100.0f));
}

TEST(ChatRequest, NullCountsAsAbsent) {
  const ChatRequest r = chat_with(
      R"("temperature": null, "stop": null, "seed": null, "tools": null, "stream_options": null, "response_format": null)");
  EXPECT_FALSE(r.sampling.temperature || r.sampling.seed || r.stream);
}

TEST(ChatRequest, NamesTheFieldThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {R"("temperature": "hot")", "temperature"},
      {R"("temperature": -0.1)", "temperature"},
      {R"("top_p": 0)", "top_p"},
      {R"("top_p": 1.01)", "top_p"},
      {R"("top_k": -2)", "top_k"},
      {R"("top_k": 1.5)", "top_k"},
      {R"("n": 0)", "n"},
      {R"("n": 129)", "n"},
      {R"("cache_salt": "")", "cache_salt"},
      {R"("prompt_logprobs": 21)", "prompt_logprobs"},
      {R"("prompt_logprobs": -1)", "prompt_logprobs"},
      {R"("prompt_logprobs": 1, "stream": true)", "prompt_logprobs"},
      {R"("truncate_prompt_tokens": 0)", "truncate_prompt_tokens"},
      {R"("truncate_prompt_tokens": -2)", "truncate_prompt_tokens"},
      {R"("cache_salt": 7)", "cache_salt"},
      {R"("seed": 1e30)", "seed"},
      {R"("max_tokens": 0)", "max_tokens"},
      {R"("max_completion_tokens": -1)", "max_completion_tokens"},
      {R"("stop": [""])", "stop"},
      {R"("stop": [1])", "stop"},
      {R"("stop": {"a": 1})", "stop"},
      {R"("stop_token_ids": [-1])", "stop_token_ids"},
      {R"("logit_bias": {"x": 1})", "logit_bias"},
      {R"("logit_bias": {"1": 101})", "logit_bias"},
      {R"("allowed_token_ids": [])", "allowed_token_ids"},
      {R"("logprobs": 3)", "logprobs"},
      {R"("logprobs": true, "top_logprobs": 21)", "top_logprobs"},
      {R"("top_logprobs": 2)", "top_logprobs"},
      {R"("stream": "yes")", "stream"},
      {R"("stream_options": {"include_usage": true})", "stream_options"},
      {R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage"},
      {R"("tools": [{"type": "function"}])", "tools"},
      {R"("continue_final_message": true, "add_generation_prompt": true)",
       "continue_final_message"}};
  for (const auto& [fields, name] : cases) EXPECT_EQ(chat_error(fields), name) << fields;
  const auto salt = [](size_t bytes) {
    return format(R"("cache_salt": "{}")", std::string(bytes, 's'));
  };
  EXPECT_EQ(chat_error(salt(256)), "no error");
  EXPECT_EQ(chat_error(salt(257)), "cache_salt");
}

TEST(ChatRequest, ReadsOptionsOfTheMediaProcessor) {
  const ChatRequest request = chat_with(R"("mm_processor_kwargs": {"max_pixels": 5000})");
  EXPECT_EQ(request.chat.processor.max_pixels, 5000);
  EXPECT_EQ(chat_error(R"("mm_processor_kwargs": {"max_pixel": 1})"), "mm_processor_kwargs");
  EXPECT_EQ(chat_error(R"("mm_processor_kwargs": 5)"), "mm_processor_kwargs");
}

TEST(ChatRequest, RefusesWhatItCannotDo) {
  for (const char* field : {R"("json_schema": "{}")",
                            R"("guided_whitespace_pattern": " ")",
                            R"("modalities": ["text", "audio"])",
                            R"("audio": {"voice": "x"})",
                            R"("use_beam_search": true)",
                            R"("thinking_token_budget": 0)",
                            R"("best_of": 4)",
                            R"("chat_template": "{{ x }}")",
                            R"("functions": [{"name": "f"}])",
                            R"("media_io_kwargs": {"a": 1})"}) {
    try {
      chat_with(field);
      ADD_FAILURE() << field << " passed";
    } catch (const RequestError& e) {
      EXPECT_EQ(e.code(), ErrorCode::unsupported) << field;
      EXPECT_NE(std::string(field).find("\"" + e.param() + "\""), std::string::npos)
          << field << " named " << e.param();
    }
  }
}

TEST(ChatRequest, AcceptsWhatAsksForNothing) {
  for (const char* field : {R"("tool_choice": "auto")",
                            R"("tool_choice": "none")",
                            R"("response_format": {"type": "text"})",
                            R"("tools": [])",
                            R"("use_beam_search": false)",
                            R"("modalities": ["text"])",
                            R"("user": "me", "metadata": {"a": "b"}, "store": false)",
                            R"("n": 1, "best_of": 1)",
                            R"("length_penalty": 1.0)",
                            R"("parallel_tool_calls": true)"})
    EXPECT_EQ(chat_error(field), "no error") << field;
}

TEST(ChatRequest, SpotsMisspeltFieldsAndPassesForeignOnes) {
  EXPECT_EQ(chat_error(R"("temprature": 0)"), "temprature");
  EXPECT_EQ(chat_error(R"("max_token": 5)"), "max_token");
  std::vector<std::string> ignored;
  Json body = parse(R"({"messages": [{"role": "user", "content": "x"}], "my_gateway_tag": 3})");
  ChatRequest::parse(body, &ignored);
  EXPECT_EQ(ignored, std::vector<std::string>({"my_gateway_tag"}));
}

TEST(ChatRequest, ChecksTheShapeOfMessages) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "messages"},
      {R"({"messages": []})", "messages"},
      {R"({"messages": "hi"})", "messages"},
      {R"({"messages": ["hi"]})", "messages[0]"},
      {R"({"messages": [{"content": "x"}]})", "messages[0]"},
      {R"({"messages": [{"role": "", "content": "x"}]})", "messages[0].role"},
      {R"({"messages": [{"role": "user"}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": 5}]})", "messages[0].content"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
       "messages[0].content[0]"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
       "messages[0].content[0]"},
      {R"({"messages": [{"role": "user", "content": [7]}]})", "messages[0].content[0]"},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]})",
       "messages[0].tool_calls"}};
  for (const auto& [body, name] : cases)
    EXPECT_EQ(field_of([&] { ChatRequest::parse(parse(body)); }), name) << body;
  EXPECT_EQ(field_of([&] { ChatRequest::parse(parse("[1]")); }), "");
}

TEST(ChatRequest, GivesTemplatesArgumentsAsObjects) {
  const ChatRequest r =
      ChatRequest::parse(parse(R"({"messages": [{"role": "assistant", "content": null, "tool_calls":
      [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\": [1]}"}}]}]})"));
  EXPECT_EQ((*r.chat.messages)[0]["tool_calls"][0]["function"]["arguments"].dump(), R"({"x":[1]})");
}

TEST(ChatRequest, RequestsThatNestTooDeepOrHoldBadTextAreJsonErrors) {
  EXPECT_THROW(parse(std::string(10000, '[')), Error);
  EXPECT_THROW(parse(R"({"messages": )" + std::string(10000, '[') + std::string(10000, ']') + "}"),
               Error);
  EXPECT_THROW(parse("{\"prompt\": \"\xff\"}"), Error);
  EXPECT_THROW(parse(R"({"temperature": 1e999})"), Error);
  std::string many = "{";
  for (int i = 0; i < 600; ++i) many += format("\"f{}\": 1, ", i);
  EXPECT_EQ(field_of([&] { ChatRequest::parse(parse(many + "\"x\": 1}")); }), "");
}

TEST(CompletionRequest, TakesAllFourKindsOfPrompt) {
  EXPECT_EQ(completion_with("").prompts.size(), 1u);
  const auto prompts = [](const char* json) {
    return CompletionRequest::parse(parse(std::string(R"({"prompt": )") + json + "}")).prompts;
  };
  EXPECT_EQ(prompts(R"(["a", "b"])").size(), 2u);
  EXPECT_EQ(std::get<TokenIds>(prompts("[1, 2, 3]").at(0)), TokenIds({1, 2, 3}));
  EXPECT_EQ(std::get<TokenIds>(prompts("[[1], [2, 3]]").at(1)), TokenIds({2, 3}));
  for (const char* bad :
       {"5", "[]", "[[]]", "[1, \"a\"]", "[-1]", "[1.5]", "[true]", "{}", "[4294967296]"})
    EXPECT_EQ(field_of([&] { prompts(bad); }), "prompt") << bad;
}

TEST(CompletionRequest, AnEmptyAnswerNeedsAPromptToShow) {
  EXPECT_EQ(field_of([] { completion_with(R"("max_tokens": 0)"); }), "max_tokens");
  EXPECT_EQ(completion_with(R"("max_tokens": 0, "echo": true)").sampling.max_tokens, 0);
  EXPECT_EQ(completion_with(R"("max_tokens": 0, "prompt_logprobs": 1)").sampling.max_tokens, 0);
  EXPECT_TRUE(completion_with(R"("echo": true, "logprobs": 1)").sampling.echoes_logprobs);
  EXPECT_FALSE(completion_with(R"("echo": true)").sampling.echoes_logprobs);
}

TEST(CompletionRequest, RefusesSuffix) {
  EXPECT_EQ(field_of([] { completion_with(R"("suffix": "end")"); }), "suffix");
  EXPECT_EQ(field_of([] { completion_with(R"("logprobs": 21)"); }), "logprobs");
  EXPECT_EQ(field_of([] { completion_with(R"("max_completion_tokens": 4)"); }),
            "max_completion_tokens");
  EXPECT_TRUE(completion_with(R"("echo": true, "suffix": null)").echo);
  EXPECT_EQ(completion_with(R"("logprobs": 0)").sampling.logprobs, 0);
  EXPECT_EQ(completion_with(R"("logprobs": false)").sampling.logprobs, -1);
}

TEST(CompletionRequest, BoundsPromptsTimesChoices) {
  std::string prompts;
  for (int i = 0; i < 20; ++i) prompts += (i ? ", \"p\"" : "\"p\"");
  EXPECT_EQ(field_of([&] {
              CompletionRequest::parse(parse(R"({"n": 128, "prompt": [)" + prompts + "]}"));
            }),
            "n");
}

TEST(TokenizeRequest, TakesPromptOrMessages) {
  EXPECT_EQ(TokenizeRequest::parse(parse(R"({"prompt": "a"})")).prompt, "a");
  EXPECT_TRUE(TokenizeRequest::parse(parse(R"({"messages": [{"role": "user", "content": "a"}]})"))
                  .chat.has_value());
  EXPECT_THROW(TokenizeRequest::parse(parse("{}")), RequestError);
  EXPECT_THROW(DetokenizeRequest::parse(parse("{}")), RequestError);
  EXPECT_EQ(DetokenizeRequest::parse(parse(R"({"tokens": [1]})")).tokens, TokenIds({1}));
}

class Resolve : public testing::Test {
 protected:
  SamplingParams resolved(const std::string& fields, int64_t prompt_tokens = 10) {
    return resolve(chat_with(fields).sampling,
                   defaults_,
                   {.max_model_len = 100, .prompt_tokens = prompt_tokens, .fallback_seed = 77},
                   tokenizer_);
  }
  Tokenizer tokenizer_ = make_byte_tokenizer();
  GenerationDefaults defaults_ = {
      .temperature = 0.7, .top_k = 20, .max_tokens = {}, .eos_token_ids = {kScriptedEos}};
};

TEST_F(Resolve, PutsDefaultsInThePlaceOfAbsentFields) {
  const SamplingParams p = resolved(R"("top_k": 0)");
  EXPECT_EQ(p.temperature, 0.7);
  EXPECT_EQ(p.top_k, 0);
  EXPECT_EQ(p.seed, 77u);
  EXPECT_EQ(p.max_tokens, 90);
  EXPECT_EQ(p.stop_token_ids, std::vector<int32_t>({kScriptedEos}));
  EXPECT_TRUE(resolved(R"("ignore_eos": true)").stop_token_ids.empty());
  const SamplingParams named = resolved(R"("ignore_eos": true, "stop_token_ids": [5])");
  EXPECT_EQ(named.stop_token_ids, std::vector<int32_t>{5});
  EXPECT_FALSE(named.ignore_eos) << "a named id still ends the answer";
  defaults_.max_tokens = 12;
  EXPECT_EQ(resolved("").max_tokens, 12);
}

TEST_F(Resolve, RefusesWhatDoesNotFitWithTheNumbers) {
  EXPECT_EQ(resolved("", 99).max_tokens, 1);
  EXPECT_EQ(resolved(R"("max_tokens": 90)").max_tokens, 90);
  for (const auto& [fields, prompt] :
       {std::pair<std::string, int>{"", 100}, {R"("max_tokens": 91)", 10}}) {
    try {
      resolved(fields, prompt);
      ADD_FAILURE() << "no error";
    } catch (const RequestError& e) {
      EXPECT_EQ(e.reason(), "context_length_exceeded");
      EXPECT_NE(std::string(e.what()).find("100"), std::string::npos);
      EXPECT_NE(std::string(e.what()).find(std::to_string(prompt)), std::string::npos);
    }
  }
  EXPECT_EQ(field_of([&] { resolved(R"("min_tokens": 50, "max_tokens": 5)"); }), "min_tokens");
  EXPECT_EQ(field_of([&] { resolved(R"("stop_token_ids": [257])"); }), "stop_token_ids");
  EXPECT_EQ(field_of([&] { resolved(R"("logit_bias": {"999": 1})"); }), "logit_bias");
}

TEST_F(Resolve, ForbidsAWordWithAndWithoutItsSpace) {
  const auto words = resolved(R"("bad_words": [" no"])").bad_words;
  ASSERT_EQ(words.size(), 1u);  // a space is a token of its own here
  EXPECT_EQ(words[0], std::vector<int32_t>({'n', 'o'}));
}

TEST(GenerationDefaults, ReadsGenerationConfig) {
  const auto d = GenerationDefaults::from(parse(
      R"({"temperature": 0.6, "top_k": 20, "eos_token_id": [7, 8], "max_new_tokens": 99, "other": "x"})"));
  EXPECT_EQ(d.temperature, 0.6);
  EXPECT_EQ(d.top_k, 20);
  EXPECT_EQ(d.max_tokens, 99);
  EXPECT_EQ(d.eos_token_ids, std::vector<int32_t>({7, 8}));
  EXPECT_THROW(GenerationDefaults::from(parse(R"({"top_p": "x"})")), Error);
  EXPECT_THROW(GenerationDefaults::from(parse(R"({"eos_token_id": "x"})")), Error);
}

TEST(EditDistance, CountsEdits) {
  EXPECT_EQ(edit_distance("temperature", "temprature"), 1);
  EXPECT_EQ(edit_distance("ab", "ba"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("same", "same"), 0);
}

}  // namespace
}  // namespace quern
