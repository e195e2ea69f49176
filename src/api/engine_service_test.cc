// SPDX-License-Identifier: Apache-2.0
// The real Service over a real Engine, whose executor says that each token is followed by the next
// higher one.
#include "api/engine_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/api_error.h"
#include "api/generation_job.h"
#include "api/scripted_service.h"

namespace quern {
namespace {

class CountingExecutor final : public Executor {
 public:
  void submit(StepPlan plan) override { plan_ = std::move(plan); }
  bool wait(StepResult& result, int) override {
    constexpr int64_t kVocab = 257;
    result = {.epoch = plan_.epoch, .step = plan_.step, .row_size = kVocab, .rows = {}};
    result.rows.assign(plan_.batch.sample_rows.size() * kVocab, 0.0f);
    for (size_t i = 0; i < plan_.batch.sample_rows.size(); ++i) {
      const int32_t token = plan_.batch.tokens[static_cast<size_t>(plan_.batch.sample_rows[i])];
      result.rows[i * kVocab + static_cast<size_t>((token + 1) % kVocab)] = 50.0f;
    }
    return true;
  }

 private:
  StepPlan plan_;
};

// "role:content|" for each message; "tools|" in front where there are any and `shows_tools`.
class PlainBuilder final : public PromptBuilder {
 public:
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const ChatTemplate* chat_template() const override { return nullptr; }
  bool takes_media() const override { return false; }
  std::optional<MediaInput> largest_medium(int64_t) const override { return {}; }
  std::string render(const Json& messages, const ChatOptions& options) const override {
    std::string text = options.tools && shows_tools_ ? "tools|" : "";
    for (const Json& message : messages) {
      if (needs_texts_ && !message["content"].is_string())
        fail(ErrorCode::invalid_argument, "can only concatenate str");
      text += message["role"].get<std::string>() + ":" + message["content"].dump() + "|";
    }
    return text;
  }
  Prompt from_messages(const Json& messages,
                       const ChatOptions& options,
                       const MediaSource&) const override {
    return from_text(render(messages, options), false);
  }
  Prompt from_text(std::string_view text,
                   bool,
                   std::vector<OpenedMedia> = {},
                   const PromptRules& = {}) const override {
    Prompt prompt = from_ids(tokenizer_.encode(text));
    prompt.text = text;
    return prompt;
  }
  Prompt from_ids(std::vector<int32_t> ids) const override {
    Prompt prompt;
    prompt.ids = std::move(ids);
    for (size_t i = 0; i < prompt.ids.size(); ++i)
      prompt.positions.push_back(static_cast<int32_t>(i));
    return prompt;
  }

  bool shows_tools_ = false;
  bool needs_texts_ = false;  // fails where a content is null, as many templates do

 private:
  Tokenizer tokenizer_ = make_byte_tokenizer();
};

class EngineServiceTest : public testing::Test {
 protected:
  static EngineConfig config() {
    EngineConfig config;
    config.max_model_len = 64;
    config.num_blocks = 8;
    config.block_size = 4;
    config.vocab_size = 257;
    return config;
  }
  JobContext context() const { return {.service = service_, .id = "r"}; }
  GenerationJob chat(const std::string& body) const {
    return chat_job(parse_json(body, "body"), context());
  }
  std::string param_of(const std::string& body) const {
    try {
      chat(body);
      return "no error";
    } catch (const RequestError& e) {
      return e.param();
    }
  }

  MonotonicClock clock_;
  Engine engine_{config(), [](uint64_t) { return std::make_unique<CountingExecutor>(); }, clock_};
  PlainBuilder builder_;
  EngineService service_{{.names = {"m"},
                          .root = "m",
                          .max_model_len = 64,
                          .block_size = 4,
                          .num_blocks = 8,
                          .kv_dtype = "f32"},
                         {.temperature = 0, .max_tokens = {}, .eos_token_ids = {kScriptedEos}},
                         builder_,
                         engine_};
};

TEST_F(EngineServiceTest, RunsACompletionThroughTheEngine) {
  const GenerationJob job = completion_job(
      parse_json(R"({"prompt": "abc", "max_tokens": 3, "n": 2})", "body"), context());
  const auto generation = job.submit(service_, "r");
  std::vector<TextDelta> answers(2);
  while (!generation->is_finished())
    for (auto& [index, delta] : generation->poll())
      answers[static_cast<size_t>(index)].append(std::move(delta));
  EXPECT_EQ(answers[0].text, "def");
  EXPECT_EQ(answers[1].text, "def");
  EXPECT_EQ(answers[0].finish, FinishReason::length);
  EXPECT_EQ(generation->usage().completion_tokens, 6);
}

TEST_F(EngineServiceTest, AnswersOfAllTheRoomFitTheCache) {
  // 64 tokens of context, but blocks for 32.
  const GenerationJob job = chat(R"({"messages": [{"role": "u", "content": "x"}]})");
  EXPECT_EQ(job.prompts.at(0)->text, "u:\"x\"|");
  EXPECT_EQ(job.params.at(0).max_tokens, 33 - 6);
  EXPECT_NO_THROW(job.submit(service_, "r"));
}

TEST_F(EngineServiceTest, RefusesWhatTheModelWouldNotSee) {
  const std::string picture =
      R"({"messages": [{"role": "u", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:"}}]}]})";
  EXPECT_EQ(param_of(picture), "messages[0].content[1]");
  const std::string tools =
      R"({"messages": [{"role": "u", "content": "x"}], "tools": [{"type": "function", "function": {"name": "f"}}]})";
  EXPECT_EQ(param_of(tools), "tools");
  builder_.shows_tools_ = true;
  EXPECT_EQ(chat(tools).prompts.at(0)->text, "tools|u:\"x\"|");
}

TEST_F(EngineServiceTest, ATemplateThatFailsOnNoContentGetsAnEmptyText) {
  const std::string body =
      R"({"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "a", "function": {"name": "f"}}]}]})";
  EXPECT_EQ(chat(body).prompts.at(0)->text, "assistant:null|");
  builder_.needs_texts_ = true;
  EXPECT_EQ(chat(body).prompts.at(0)->text, "assistant:\"\"|");
}

TEST_F(EngineServiceTest, RefusesIdsOutsideTheVocabulary) {
  EXPECT_EQ(service_.prepare(TextOrTokens(TokenIds{1, 256}), false)->ids.size(), 2u);
  EXPECT_THROW(service_.prepare(TextOrTokens(TokenIds{257}), false), RequestError);
}

TEST(ReadGenerationDefaults, TakesTheFilesBesideTheWeights) {
  const Tokenizer tokenizer = make_byte_tokenizer();
  const auto folder = std::filesystem::path(testing::TempDir()) / "quern_generation_defaults";
  std::filesystem::create_directories(folder);
  std::filesystem::remove(folder / "generation_config.json");
  EXPECT_TRUE(
      read_generation_defaults(folder / "model.safetensors", tokenizer).eos_token_ids.empty());
  EXPECT_THROW(read_generation_defaults(folder / "model.gguf", tokenizer), Error)
      << "a .gguf file says itself what it defaults to";
  std::ofstream(folder / "config.json") << R"({"eos_token_id": 7})";
  EXPECT_EQ(read_generation_defaults(folder, tokenizer).eos_token_ids, std::vector<int32_t>({7}));
  std::ofstream(folder / "config.json")
      << R"({"eos_token_id": 7, "text_config": {"eos_token_id": [7, 6]}})";
  EXPECT_EQ(read_generation_defaults(folder, tokenizer).eos_token_ids,
            std::vector<int32_t>({7, 6}));
  std::ofstream(folder / "generation_config.json")
      << R"({"eos_token_id": [8, 9], "temperature": 0.5})";
  const GenerationDefaults defaults = read_generation_defaults(folder, tokenizer);
  EXPECT_EQ(defaults.eos_token_ids, std::vector<int32_t>({8, 9}));
  EXPECT_EQ(defaults.temperature, 0.5);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace quern
