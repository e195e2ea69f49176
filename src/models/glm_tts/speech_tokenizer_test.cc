// SPDX-License-Identifier: Apache-2.0
// Speech tokens against the reference's, and what they may depend on.
#include "models/glm_tts/speech_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/sound.h"
#include "nn/owned_ctx.h"
#include "weights/with_config.h"

namespace quern {
namespace {

const std::string kCase = QUERN_SOURCE_DIR "/tests/golden/glm_tts_frontend/";
constexpr MelShape kPieces{.bands = 128};

std::vector<float> noise(int64_t count, float loudness = 0.3f) {
  std::vector<float> out;
  uint32_t state = 12345;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    out.push_back(loudness * (static_cast<float>(state >> 8) / 8388608.0f - 1));
  }
  return out;
}

std::unique_ptr<Checkpoint> changed(const std::string& key, Json value) {
  std::shared_ptr<const Checkpoint> file = open_checkpoint(kCase + "speech_tokenizer");
  Json root = file->config().json();
  root[key] = std::move(value);
  return with_config(std::move(file), Config::parse(root.dump(), "config.json"));
}

class SpeechTokens : public ::testing::Test {
 protected:
  SpeechTokenizer load(std::shared_ptr<const Checkpoint> file) {
    return SpeechTokenizer(Builder(std::move(file), ctx_.ctx()), kPieces);
  }
  SpeechTokenizer load() { return load(open_checkpoint(kCase + "speech_tokenizer")); }
  std::vector<int32_t> tokens(const std::vector<float>& samples) {
    return load()(ctx_.ctx(), samples);
  }

  OwnedCtx ctx_{{.threads = 2, .isa = probe_topology().isa, .activation = Activation::f32}};
};

TEST_F(SpeechTokens, AreTheReferences) {
  const std::string bytes = read_file(kCase + "inputs/c.wav");
  const Sound sound = decode_sound(std::as_bytes(std::span(bytes)), SoundForm::kFileRate);
  const auto stored = open_checkpoint(kCase + "expected.safetensors");
  for (const bool is_causal : {false, true}) {
    const Tensor expected =
        read_tensor(*stored, is_causal ? "vq.c.tokens_if_causal_convolution" : "vq.c.tokens");
    const SpeechTokenizer tokenizer = load(changed("encoder_causal_convolution", is_causal));
    const std::vector<int32_t> got = tokenizer(ctx_.ctx(), sound.samples);
    ASSERT_EQ(static_cast<int64_t>(got.size()), expected.numel());
    int64_t different = 0;
    for (size_t i = 0; i < got.size(); ++i) different += got[i] != expected.data<int64_t>()[i];
    EXPECT_LE(different, is_causal ? 1 : 0);  // the causal ones have one choice that is close
  }
}

TEST_F(SpeechTokens, OneForEach640SamplesOfAPiece) {
  const SpeechTokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.token_samples(), 640);
  EXPECT_EQ(tokenizer.vocab(), 256);
  for (const int64_t count : {0, 1, 320, 321, 640, 641, 480'000, 480'641}) {
    const int64_t first = std::min<int64_t>(count, 480'000), rest = count - first;
    EXPECT_EQ(static_cast<int64_t>(tokenizer(ctx_.ctx(), noise(count)).size()),
              (first + 639) / 640 + (rest + 639) / 640)
        << count;
  }
}

// The first piece knows of the second only that there is one.
TEST_F(SpeechTokens, PiecesAreLookedAtAlone) {
  const std::vector<float> samples = noise(520'000);
  const auto first = std::span(samples).first(480'000);
  const SpeechTokenizer tokenizer = load();
  const std::vector<int32_t> whole = tokenizer(ctx_.ctx(), samples),
                             alone = tokenizer(ctx_.ctx(), first);
  ASSERT_EQ(alone.size(), 750u);
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), whole.begin()));
}

// Blocks are of four seconds, 100 tokens; the convolutions look a frame or two ahead.
TEST_F(SpeechTokens, DoNotFeelLaterBlocks) {
  std::vector<float> samples = noise(10 * 16'000);
  const std::vector<int32_t> before = tokens(samples);
  for (size_t i = 4 * 16'000 + 1000; i < samples.size(); ++i) samples[i] *= 0.1f;
  const std::vector<int32_t> after = tokens(samples);
  EXPECT_TRUE(std::equal(before.begin(), before.begin() + 100, after.begin()));
  EXPECT_FALSE(std::equal(before.begin() + 100, before.end(), after.begin() + 100));
}

TEST_F(SpeechTokens, AreTheSameOnOneThreadAndOnPlainLoops) {
  const std::vector<float> samples = noise(30'000);
  const std::vector<int32_t> expected = tokens(samples);
  for (const Isa isa : {Isa::scalar, probe_topology().isa}) {
    OwnedCtx other({.threads = 1, .isa = isa, .activation = Activation::f32});
    const Builder b(open_checkpoint(kCase + "speech_tokenizer"), other.ctx());
    EXPECT_EQ(SpeechTokenizer(b, kPieces)(other.ctx(), samples), expected) << name_of(isa);
  }
}

// Pooling may come before the codebook's layer: rows of tokens go on through layers.
TEST_F(SpeechTokens, PoolingMayComeEarlier) {
  const SpeechTokenizer early = load(changed("pooling_position", 1));
  const SpeechTokenizer largest = load(changed("pooling_type", "max"));
  const std::vector<float> samples = noise(200'000);
  EXPECT_EQ(early(ctx_.ctx(), samples).size(), 313u);
  EXPECT_EQ(largest(ctx_.ctx(), samples).size(), 313u);
  EXPECT_NE(early(ctx_.ctx(), samples), tokens(samples));
}

TEST_F(SpeechTokens, AMinuteAtMost) {
  const SpeechTokenizer tokenizer = load();
  try {
    tokenizer(ctx_.ctx(), std::vector<float>(960'001));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), testing::HasSubstr("60 at most"));
  }
}

TEST_F(SpeechTokens, VariantsThatAreNotCarriedAreNamed) {
  const struct {
    const char* key;
    Json value;
  } cases[] = {{"encoder_causal_attention", true},
               {"quantize_causal_encoder", true},
               {"scale_embedding", true},
               {"pooling_type", "median"},
               {"pooling_position", 3},
               {"quantize_position", 9},
               {"encoder_attention_heads", 3},
               {"quantize_vocab_size", 255},
               {"num_mel_bins", 80},
               {"quantize_causal_block_size", 1},
               {"pooling_kernel_size", 4000}};
  for (const auto& c : cases) EXPECT_THROW(load(changed(c.key, c.value)), Error) << c.key;
}

TEST_F(SpeechTokens, MoreThanThereArePlacesForIsRefused) {
  const SpeechTokenizer tokenizer =
      load(open_checkpoint(QUERN_SOURCE_DIR "/tests/golden/glm_tts_e2e/speech_tokenizer"));
  EXPECT_EQ(tokenizer(ctx_.ctx(), noise(100 * 640)).size(), 100u);  // 200 rows
  EXPECT_THROW(tokenizer(ctx_.ctx(), noise(100 * 640 + 1)), Error);
}

TEST_F(SpeechTokens, OnMetaThereAreShapesAlone) {
  OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
  const auto file = open_checkpoint(kCase + "speech_tokenizer");
  const std::shared_ptr<const Checkpoint> shapes = shapes_only_checkpoint(file->config(), {});
  const SpeechTokenizer tokenizer(Builder(shapes, meta.ctx()), kPieces);
  EXPECT_TRUE(tokenizer(meta.ctx(), noise(5'000)).empty());
  EXPECT_GT(meta.arena().peak_bytes(), 0);
}

}  // namespace
}  // namespace quern
