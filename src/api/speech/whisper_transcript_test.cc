// SPDX-License-Identifier: Apache-2.0
// How windows follow each other, with answers made up: which questions are asked, what becomes of
// the answers.
#include "api/speech/whisper_transcript.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sampling/speech_rules.h"
#include "weights/checkpoint.h"

namespace quern {
namespace {

using testing::ElementsAre;

// Words below 440, end 440, start 441, en 442, zh 443, notimestamps 546, times from 547 on.
constexpr int32_t kStart = 441, kWhisperEnd = 440, kEnglish = 442, kFirstTime = 547;

class WhisperTranscriptTest : public ::testing::Test {
 protected:
  static RecordingFrames frames(int64_t count) {
    RecordingFrames out;
    out.bands = 80;
    out.count = out.heard = count;
    out.values.assign(static_cast<size_t>(count * 80), 0.5f);
    return out;
  }
  WhisperTranscript transcript(int64_t count, const TranscriptOptions& options) const {
    return {*ears_, frames(count), count, options};
  }
  // A time so many seconds into its window.
  static int32_t at(double seconds) {
    return kFirstTime + static_cast<int32_t>(std::lround(seconds * 50));
  }
  static WindowText said(std::vector<int32_t> tokens, double logprob = -0.1) {
    const size_t count = tokens.size();
    return {std::move(tokens), std::vector<double>(count, logprob)};
  }

  const std::string folder_ = QUERN_SOURCE_DIR "/tests/golden/whisper";
  const std::unique_ptr<const WhisperEars> ears_ = WhisperEars::open(
      folder_, open_checkpoint(folder_)->config(), Tokenizer::from_folder(folder_));
};

TEST_F(WhisperTranscriptTest, ShortSpeechWithoutTimesIsOneQuestion) {
  WhisperTranscript t = transcript(3000, {.language = "en"});
  const auto task = t.next();
  ASSERT_TRUE(task.has_value());
  EXPECT_THAT(task->text, ElementsAre(kStart, kEnglish, 542, 546));
  EXPECT_EQ(task->window->rows, 3000);
  EXPECT_FALSE(task->params.speech->has_times);
  t.take(said({1, 2, kWhisperEnd}));
  EXPECT_FALSE(t.next().has_value());
  ASSERT_EQ(t.pieces().size(), 1u);
  EXPECT_THAT(t.pieces()[0].tokens, ElementsAre(1, 2));
  EXPECT_DOUBLE_EQ(t.pieces()[0].end, 30);
}

TEST_F(WhisperTranscriptTest, TheLanguageIsAskedForFirst) {
  WhisperTranscript t = transcript(3000, {.translates = true});
  const auto task = t.next();
  EXPECT_THAT(task->text, ElementsAre(kStart));
  EXPECT_EQ(task->params.allowed_token_ids.size(), ears_->tokens.languages.size());
  EXPECT_EQ(task->params.max_tokens, 1);
  t.take(said({443}));
  EXPECT_EQ(t.language(), "zh");
  EXPECT_THAT(t.next()->text, ElementsAre(kStart, 443, 541, 546));
}

TEST_F(WhisperTranscriptTest, TheNextWindowBeginsWhereTheLastWholePieceEnded) {
  WhisperTranscript t = transcript(5000, {.language = "en"});
  EXPECT_TRUE(t.next()->params.speech->has_times);  // it is longer than a window
  t.take(said({at(0), 1, at(4), at(4), 2, at(20), at(20), 3}));
  ASSERT_EQ(t.pieces().size(), 2u);  // 3 was cut by the window's end
  EXPECT_DOUBLE_EQ(t.pieces()[1].start, 4);
  EXPECT_DOUBLE_EQ(t.pieces()[1].end, 20);
  EXPECT_DOUBLE_EQ(t.seconds_done(), 20);
  EXPECT_EQ(t.next()->window->valid_rows, 3000);
  t.take(said({at(1), 3, at(5)}));  // one time at the end: silence behind it
  ASSERT_EQ(t.pieces().size(), 3u);
  EXPECT_DOUBLE_EQ(t.pieces()[2].start, 20);
  EXPECT_DOUBLE_EQ(t.pieces()[2].end, 25);
  EXPECT_FALSE(t.next().has_value());
}

TEST_F(WhisperTranscriptTest, AWindowThatEndsWhereItBeganIsLeftBehind) {
  WhisperTranscript t = transcript(3000, {.language = "en", .has_times = true});
  t.take(said({at(0), at(0), 1}));
  EXPECT_FALSE(t.next().has_value());
}

TEST_F(WhisperTranscriptTest, AnUnlikelyTextIsTriedAgainWarmer) {
  WhisperTranscript t =
      transcript(3000, {.language = "en", .temperatures = {0, 0.2, 0.4}, .least_no_speech = {}});
  t.take(said({1, 2}, -3));
  EXPECT_DOUBLE_EQ(t.next()->params.temperature, 0.2);
  t.take(said({1, 2}, -3));
  EXPECT_DOUBLE_EQ(t.next()->params.temperature, 0.4);
  t.take(said({1, 3}, -3));  // the last one stands
  EXPECT_FALSE(t.next().has_value());
  EXPECT_THAT(t.pieces().at(0).tokens, ElementsAre(1, 3));
}

TEST_F(WhisperTranscriptTest, ARepetitiveTextIsTriedAgain) {
  WhisperTranscript t = transcript(3000, {.language = "en", .temperatures = {0, 0.2}});
  t.take(said(std::vector<int32_t>(200, 7)));
  EXPECT_DOUBLE_EQ(t.next()->params.temperature, 0.2);
}

TEST_F(WhisperTranscriptTest, SilenceIsAskedForAndSkipped) {
  WhisperTranscript t = transcript(3000, {.language = "en"});
  t.take(said({1, 2}, -3));
  const auto task = t.next();
  EXPECT_THAT(task->text, ElementsAre(kStart));
  EXPECT_THAT(task->params.allowed_token_ids, ElementsAre(ears_->tokens.no_speech));
  t.take(said({ears_->tokens.no_speech}, -0.1));  // e^-0.1 = 0.9
  EXPECT_FALSE(t.next().has_value());
  EXPECT_TRUE(t.pieces().empty());
}

TEST_F(WhisperTranscriptTest, EarlierTextIsShownAndCut) {
  WhisperTranscript t =
      transcript(6000, {.language = "en", .prompt = {9, 8}, .shows_earlier_text = true});
  EXPECT_THAT(t.next()->text, ElementsAre(544, 9, 8, kStart, kEnglish, 542));
  t.take(said({at(0), 1, at(4), at(4)}));
  EXPECT_THAT(t.next()->text, ElementsAre(544, at(0), 1, at(4), kStart, kEnglish, 542));
  WhisperTranscript cut =
      transcript(3000, {.language = "en", .prompt = std::vector<int32_t>(400, 9)});
  EXPECT_EQ(cut.next()->text.size(), 1 + 223 + 4u);
  EXPECT_EQ(cut.next()->params.max_tokens, 448 - 228);
}

TEST_F(WhisperTranscriptTest, UnknownLanguagesAreNamed) {
  EXPECT_THAT([&] { transcript(3000, {.language = "xx"}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("expected one of af, am, ar")));
}

TEST_F(WhisperTranscriptTest, NothingIsAskedOfNothing) {
  EXPECT_FALSE(transcript(0, {.language = "en"}).next().has_value());
}

}  // namespace
}  // namespace quern
