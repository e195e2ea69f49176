// SPDX-License-Identifier: Apache-2.0
// A sequence's tokens and the bits of its logits are its own: whatever the company, chunk, block
// size, prefix cache, preemption and thread count. Sixteen streams at once through the real engine
// and models, against each alone.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "engine/engine.h"
#include "engine/local_executor.h"
#include "models/registry.h"
#include "nn/owned_ctx.h"
#include "prompt/prompt_builder.h"

namespace quern {
namespace {

const std::string kGolden = QUERN_SOURCE_DIR "/tests/golden/";
const std::string kSmollm = QUERN_SOURCE_DIR "/build/models/smollm2-135m/model.gguf";
constexpr int kStreams = 16;

struct Setup {
  int block_size = 16;
  int64_t num_blocks = 512;
  int chunk = 512;  // max_num_batched_tokens
  int max_num_seqs = kStreams;
  bool prefix_cache = false;
  int threads = 1;
  int drafts = 0;                           // tokens of a draft; looked up by one or two tokens
  bool scores = false;                      // the prompts' log-probabilities are asked for too
  std::optional<PoolingType> pooling = {};  // vectors in place of text; of a model that has them
};

struct Step {
  int32_t token;
  uint64_t hash;  // of the raw logits row
  bool operator==(const Step&) const = default;
};
using Stream = std::vector<Step>;
using Scores = std::vector<PromptLogprob>;

class Subject {
 public:
  Subject(const std::string& path, Activation activation, int tokens)
      : Subject(
            path, activation, tokens, activation == Activation::f32 ? DType::f32 : DType::bf16) {}

  Subject(const std::string& path,
          Activation activation,
          int tokens,
          DType kv_dtype,
          Output output = Output::logits)
      : tokens_(tokens),
        kv_dtype_(kv_dtype),
        activation_(activation),
        checkpoint_(open_checkpoint(path)),
        prompts_(PromptBuilder::open(path, *checkpoint_)),
        loader_({.threads = 2, .isa = probe_topology().isa, .activation = activation}),
        model_(make_model(Builder(checkpoint_, loader_.ctx(), {}, {.output = output}))) {}

  const PromptBuilder& prompts() const { return *prompts_; }
  int tokens() const { return tokens_; }
  // Of the last run's prompts, where they were asked for.
  const std::vector<Scores>& scores() const { return scores_; }
  // Of the last run, where it pooled.
  const std::vector<std::vector<float>>& vectors() const { return vectors_; }

  // All prompts at once, with the parameters of streams first, first + 1, …; stats as they are when
  // the last stream has ended.
  std::vector<Stream> run(const Setup& setup,
                          std::span<const std::shared_ptr<const Prompt>> prompts,
                          size_t first,
                          EngineStats* stats = nullptr) {
    OwnedCtx worker(
        {.threads = setup.threads, .isa = loader_.ctx().isa, .activation = activation_});
    EngineConfig config;
    config.max_model_len = 256;
    config.block_size = setup.block_size;
    config.num_blocks = setup.num_blocks;
    config.max_num_batched_tokens = setup.chunk;
    config.max_num_seqs = setup.max_num_seqs;
    config.enable_prefix_caching = setup.prefix_cache;
    config.pooling = setup.pooling;
    config.speculation = {.tokens = setup.drafts, .lookup_min = 1, .lookup_max = 2};
    const MonotonicClock clock;
    Engine engine(
        config,
        [&](uint64_t epoch) {
          KvSpec spec = model_->kv_spec();
          spec.dtype = kv_dtype_;
          auto kv =
              std::make_shared<KvCache>(spec, config.num_blocks, config.block_size, Device::cpu());
          return make_local_executor(epoch, {model_, worker.ctx(), kv});
        },
        clock);
    std::vector<std::shared_ptr<EventStream>> streams;
    for (size_t i = 0; i < prompts.size(); ++i) {
      Request request;
      request.id = std::to_string(i);
      request.prompt = prompts[i];
      request.params.temperature = (first + i) % 2 == 0 ? 0.0 : 1.0;
      request.params.seed = first + i;
      request.params.max_tokens = setup.pooling ? 0 : tokens_;
      request.params.ignore_eos = true;
      request.hash_logits = true;
      if (setup.scores) request.params.prompt_logprobs = 2;
      streams.push_back(engine.submit(std::move(request)));
    }
    std::vector<Stream> out;
    scores_.clear();
    vectors_.clear();
    for (const auto& stream : streams) {
      Scores& scores = scores_.emplace_back();
      out.push_back(collect(*stream, scores, vectors_.emplace_back()));
    }
    if (stats != nullptr) *stats = engine.stats();
    return out;
  }

 private:
  static Stream collect(EventStream& stream, Scores& scores, std::vector<float>& vector) {
    Stream out;
    TokenEvent event;
    while (!stream.is_finished()) {
      if (!stream.pop(event, 60'000)) break;
      EXPECT_NE(event.finish, FinishReason::error) << event.error;
      if (event.token >= 0)
        out.push_back({event.token, event.logits_hash});
      else if (event.finish == FinishReason::none)
        scores = std::move(event.prompt_logprobs);
      else
        vector = std::move(event.pooled);
    }
    return out;
  }

  int tokens_;  // of each stream
  std::vector<Scores> scores_;
  std::vector<std::vector<float>> vectors_;
  DType kv_dtype_;
  Activation activation_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<PromptBuilder> prompts_;
  OwnedCtx loader_;
  std::shared_ptr<const Model> model_;
};

// Prompts of many lengths, some with the same beginning.
std::vector<std::shared_ptr<const Prompt>> texts(const Subject& subject) {
  const std::string beginning =
      "Once upon a time, in a village by the sea, there lived a clockmaker who repaired only "
      "clocks that ran backwards. ";
  std::vector<std::shared_ptr<const Prompt>> out;
  for (int i = 0; i < kStreams; ++i) {
    std::string text = i % 3 == 0 ? beginning : "Number ";
    for (int j = 0; j <= i; ++j) text += format("{} and then {}, ", i, j);
    auto prompt = std::make_shared<Prompt>(subject.prompts().from_text(text, false));
    if (prompt->ids.size() > 180)
      prompt = std::make_shared<Prompt>(
          subject.prompts().from_ids({prompt->ids.begin(), prompt->ids.begin() + 180}));
    out.push_back(prompt);
  }
  return out;
}

// How a family writes a message with a picture, and with a clip if it takes any.
struct MediaTexts {
  std::string picture, clip, end;
};
const MediaTexts kQwen{
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>", "", "<|im_end|>\n"};
const MediaTexts kGlm{"[gMASK]<sop><|user|>\n<|begin_of_image|><|image|><|end_of_image|>",
                      "[gMASK]<sop><|user|>\n<|begin_of_video|><|video|><|end_of_video|>",
                      "<|assistant|>\n"};
const MediaTexts kHunyuan{
    "<｜hy_begin▁of▁sentence｜><｜hy_place▁holder▁no▁100｜>"
    "<｜hy_place▁holder▁no▁102｜><｜hy_place▁holder▁no▁101｜>",
    "",
    "<｜hy_User｜>"};

Image input(const std::string& folder, const std::string& name) {
  const std::string bytes = read_file(folder + "/inputs/" + name);
  return decode_image(std::as_bytes(std::span(bytes)));
}

std::vector<std::shared_ptr<const Prompt>> pictures(const Subject& subject,
                                                    const std::string& folder,
                                                    const MediaTexts& texts = kQwen) {
  const std::string files[] = {"image_a.png", "image_b.jpg"};
  std::vector<std::shared_ptr<const Prompt>> out;
  for (int i = 0; i < kStreams; ++i) {
    std::vector<OpenedMedia> media(1);
    const bool is_clip = !texts.clip.empty() && i % 4 == 3;
    if (is_clip) {
      media[0].kind = MediaKind::video;
      for (int frame = 0; frame < 4; ++frame)
        media[0].frames.push_back(input(folder, format("video_{}.png", frame)));
    } else {
      media[0].frames = {input(folder, files[i % 2])};
    }
    const std::string text =
        format("{}Picture {}{}", is_clip ? texts.clip : texts.picture, i / 2, texts.end);
    out.push_back(
        std::make_shared<Prompt>(subject.prompts().from_text(text, false, std::move(media))));
  }
  return out;
}

// Blocks for the longest stream alone and not for all: sequences must be set back while they grow.
int64_t tight_pool(const std::vector<std::shared_ptr<const Prompt>>& prompts,
                   int tokens,
                   int block_size) {
  int64_t longest = 0, all = 0;
  for (const auto& prompt : prompts) {
    const int64_t blocks =
        (static_cast<int64_t>(prompt->ids.size()) + tokens + block_size - 1) / block_size;
    longest = std::max(longest, blocks);
    all += blocks;
  }
  return std::max(longest + 1, all / 3);
}

// `preempts`: the prompts are short enough that streams grow out of a tight pool.
void expect_invariant(Subject& subject,
                      const std::vector<std::shared_ptr<const Prompt>>& prompts,
                      bool preempts = true) {
  std::vector<Stream> alone;
  for (size_t i = 0; i < prompts.size(); ++i) {
    alone.push_back(subject.run({}, std::span(prompts).subspan(i, 1), i).front());
    ASSERT_EQ(alone.back().size(), static_cast<size_t>(subject.tokens()));
  }
  const std::pair<const char*, Setup> setups[] = {
      {"all at once", {}},
      {"two threads", {.threads = 2}},
      {"small chunks", {.chunk = kStreams + 3}},
      {"blocks of 1", {.block_size = 1, .num_blocks = 8192}},
      {"blocks of 7, three at a time", {.block_size = 7, .max_num_seqs = 3}},
      {"prefix cache", {.prefix_cache = true, .threads = 2}},
      {"drafts", {.drafts = 4}},
      {"drafts, prefix cache, small blocks and chunks",
       {.block_size = 4, .num_blocks = 2048, .chunk = 41, .prefix_cache = true, .drafts = 3}},
      {"scored prompts", {.chunk = 61, .prefix_cache = true, .scores = true}},
      {"prefix cache, small blocks and chunks",
       {.block_size = 4, .num_blocks = 2048, .chunk = 37, .prefix_cache = true}},
      {"preemption",
       {.block_size = 4, .num_blocks = tight_pool(prompts, subject.tokens(), 4), .chunk = 96}},
  };
  int64_t drafts = 0;
  for (const auto& [name, setup] : setups) {
    // Whether sequences meet in the tight pool depends on when each arrives: that one is tried
    // again until they do.
    const bool is_tight = std::string_view(name) == "preemption";
    if (is_tight && !preempts) continue;
    EngineStats stats;
    for (int attempt = 0; attempt < (is_tight ? 10 : 1) && stats.preemptions == 0; ++attempt) {
      const std::vector<Stream> together = subject.run(setup, prompts, 0, &stats);
      for (size_t i = 0; i < prompts.size(); ++i)
        EXPECT_TRUE(together[i] == alone[i]) << name << ", stream " << i;
      EXPECT_EQ(stats.blocks_used, 0) << name;
      if (setup.drafts > 0) drafts += stats.speculation.drafts;
    }
    if (is_tight) {
      EXPECT_GT(stats.preemptions, 0) << "the pool is too large to show anything";
    }
  }
  EXPECT_GT(drafts, 0) << "nothing was guessed, so nothing is shown";
}

// Log-probabilities of a prompt are those of its rows, whatever the chunk and the company.
void expect_same_scores(Subject& subject,
                        const std::vector<std::shared_ptr<const Prompt>>& prompts) {
  std::vector<Scores> alone;
  for (size_t i = 0; i < prompts.size(); ++i) {
    subject.run({.scores = true}, std::span(prompts).subspan(i, 1), i);
    alone.push_back(subject.scores().front());
    ASSERT_EQ(alone.back().size(), prompts[i]->ids.size() - 1);
  }
  const Setup setups[] = {
      {.scores = true},
      {.chunk = kStreams + 3, .scores = true},
      {.block_size = 7, .max_num_seqs = 3, .prefix_cache = true, .threads = 2, .scores = true}};
  for (const Setup& setup : setups) {
    subject.run(setup, prompts, 0);
    for (size_t i = 0; i < prompts.size(); ++i)
      EXPECT_TRUE(subject.scores()[i] == alone[i]) << "chunk " << setup.chunk << ", prompt " << i;
  }
}

// A prompt's vector is its own too.
void expect_same_vectors(Subject& subject, PoolingType type) {
  const auto prompts = texts(subject);
  std::vector<std::vector<float>> alone;
  for (size_t i = 0; i < prompts.size(); ++i) {
    subject.run({.pooling = type}, std::span(prompts).subspan(i, 1), i);
    alone.push_back(subject.vectors().front());
    ASSERT_FALSE(alone.back().empty());
  }
  const std::pair<const char*, Setup> setups[] = {
      {"all at once", {.pooling = type}},
      {"small chunks", {.chunk = kStreams + 3, .pooling = type}},
      {"blocks of 7, three at a time, prefix cache, two threads",
       {.block_size = 7, .max_num_seqs = 3, .prefix_cache = true, .threads = 2, .pooling = type}},
      {"few blocks",
       {.block_size = 4,
        .num_blocks = tight_pool(prompts, 0, 4),
        .chunk = 23,
        .prefix_cache = true,
        .pooling = type}}};
  for (const auto& [name, setup] : setups) {
    subject.run(setup, prompts, 0);
    for (size_t i = 0; i < prompts.size(); ++i)
      EXPECT_EQ(subject.vectors()[i], alone[i]) << name << ", prompt " << i;
  }
}

class Invariance : public ::testing::TestWithParam<Activation> {};

TEST_P(Invariance, Llama) {
  Subject subject(kGolden + "llama3", GetParam(), 20);
  expect_invariant(subject, texts(subject));
  expect_same_scores(subject, texts(subject));
}

TEST_P(Invariance, VectorsOfPrompts) {
  Subject subject(kGolden + "llama3", GetParam(), 0, DType::bf16, Output::hidden);
  for (const PoolingType type : {PoolingType::last, PoolingType::mean, PoolingType::cls})
    expect_same_vectors(subject, type);
}

TEST_P(Invariance, CachesOf8Bits) {
  for (const DType kv_dtype : {DType::i8, DType::f8_e4m3}) {
    SCOPED_TRACE(name_of(kv_dtype));
    Subject subject(kGolden + "llama3", GetParam(), 20, kv_dtype);
    expect_invariant(subject, texts(subject));
  }
}

// Experts see other tokens in every company, and the latent cache is one row for all heads.
TEST_P(Invariance, ExpertsAndLatentCache) {
  for (const char* golden : {"deepseek_v3", "kimi_k2_int4", "glm46v_moe_fp8_channel"}) {
    SCOPED_TRACE(golden);
    Subject subject(kGolden + golden, GetParam(), 12);
    expect_invariant(subject, texts(subject), false);
  }
}

TEST_P(Invariance, LatentCacheOf8Bits) {
  Subject subject(kGolden + "kimi_k2", GetParam(), 12, DType::f8_e4m3);
  expect_invariant(subject, texts(subject), false);
}

TEST_P(Invariance, QwenWithPictures) {
  Subject subject(kGolden + "qwen2_vl", GetParam(), 16);
  expect_invariant(subject, pictures(subject, kGolden + "qwen2_vl"));
}

TEST_P(Invariance, GlmWithPicturesAndClips) {
  Subject subject(kGolden + "glm4v", GetParam(), 12);
  expect_invariant(subject, pictures(subject, kGolden + "glm4v", kGlm));
}

TEST_P(Invariance, HunyuanWithPictures) {
  Subject subject(kGolden + "hunyuan_vl", GetParam(), 12);
  expect_invariant(subject, pictures(subject, kGolden + "hunyuan_vl", kHunyuan));
}

TEST_P(Invariance, QuantizedWithPictures) {
  for (const char* golden : {"qwen2_vl_awq", "qwen2_vl_gptq_int8", "qwen2_vl_gptq_int4_actorder"}) {
    SCOPED_TRACE(golden);
    Subject subject(kGolden + golden, GetParam(), 8);
    expect_invariant(subject, pictures(subject, kGolden + "qwen2_vl"));
  }
}

TEST_P(Invariance, EmbeddedChatModel) {
  if (!file_exists(kSmollm))
    GTEST_SKIP() << "SKIPPED: " << kSmollm << " is not there; ./dev setup fetches it";
#ifndef NDEBUG
  GTEST_SKIP() << "SKIPPED: too slow without optimisation; the release build runs it";
#endif
  Subject subject(kSmollm, GetParam(), 6);
  expect_invariant(subject, texts(subject));
}

INSTANTIATE_TEST_SUITE_P(Modes,
                         Invariance,
                         ::testing::Values(Activation::f32, Activation::bf16, Activation::int8),
                         [](const auto& mode) {
                           return mode.param == Activation::f32    ? "f32"
                                  : mode.param == Activation::bf16 ? "bf16"
                                                                   : "int8";
                         });

}  // namespace
}  // namespace quern
