// SPDX-License-Identifier: Apache-2.0
// What GLM-4V and HunyuanOCR make of pictures and clips beyond their golden cases: stamps, frames
// that are chosen, marks, and files that do not belong together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "media/video/clip_frames.h"
#include "prompt/prompt_builder.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kGolden = QUERN_SOURCE_DIR "/tests/golden/";
constexpr const char* kClip = "<|begin_of_video|><|video|><|end_of_video|>";

struct Opened {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<PromptBuilder> builder;

  explicit Opened(const std::string& folder)
      : checkpoint(open_checkpoint(folder)), builder(PromptBuilder::open(folder, *checkpoint)) {}
};

const PromptBuilder& glm() {
  static const Opened opened(kGolden + "glm4v");
  return *opened.builder;
}
const PromptBuilder& hunyuan() {
  static const Opened opened(kGolden + "hunyuan_vl");
  return *opened.builder;
}

OpenedMedia flat(MediaKind kind, int frames, double fps, int64_t width = 56, int64_t height = 56) {
  OpenedMedia media{.kind = kind, .frames = {}, .fps = fps};
  for (int i = 0; i < frames; ++i)
    media.frames.push_back(
        {width,
         height,
         std::vector<uint8_t>(static_cast<size_t>(width * height * 3), static_cast<uint8_t>(i))});
  return media;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Glm4vFrames, AreChosenAsTheReferenceDoes) {
  const auto chosen = [](int64_t total, double fps) {
    return choose_glm4v_frames(total, fps, 2, 300).indices;
  };
  EXPECT_THAT(chosen(7, 2), ElementsAre(0, 1, 2, 3, 4, 5, 6, 6));
  EXPECT_THAT(chosen(5, 1), ElementsAre(0, 1, 2, 3, 4, 4));
  EXPECT_THAT(chosen(30, 30), ElementsAre(0, 15));
  EXPECT_THAT(chosen(10, 8), ElementsAre(0, 4));
  EXPECT_THAT(chosen(1, 2), ElementsAre(0, 0));
  const std::vector<int64_t> dense = chosen(8000, 10), sparse = chosen(700, 2);
  EXPECT_EQ(dense.size(), 600u);
  EXPECT_EQ(dense[1], 14);
  EXPECT_EQ(dense[596], 7960);
  EXPECT_EQ(dense.back(), 7999);
  EXPECT_EQ(sparse.size(), 600u);
  EXPECT_EQ(sparse[1], 2);
  EXPECT_EQ(sparse[598], 699);
  EXPECT_EQ(chosen(500, 1).size(), 500u);
}

// Computed by transformers 5.23, Glm46VVideoProcessor.sample_frames.
TEST(Glm46vFrames, AreChosenAsTheReferenceDoes) {
  struct Case {
    int64_t total;
    double fps;
    size_t count;
    int64_t second, last, sum;
  };
  const Case cases[] = {{1, 2, 2, 0, 0, 0},
                        {5, 1, 6, 1, 4, 14},
                        {7, 2, 8, 1, 6, 27},
                        {30, 30, 6, 5, 25, 75},
                        {100, 30, 20, 4, 90, 891},
                        {900, 30, 180, 5, 896, 80636},
                        {901, 30, 60, 15, 885, 26550},
                        {250, 25, 60, 5, 246, 7404},
                        {8000, 10, 640, 12, 7999, 2559361},
                        {700, 2, 350, 2, 698, 122150},
                        {9000, 30, 600, 15, 8985, 2695500},
                        {64, 4, 64, 1, 63, 2016},
                        {33, 8, 24, 1, 32, 373},
                        {75000, 30, 640, 117, 74999, 23999361}};
  for (const Case& c : cases) {
    SCOPED_TRACE(format("{} frames at {}", c.total, c.fps));
    const std::vector<int64_t> got = choose_glm46v_frames(c.total, c.fps).indices;
    ASSERT_EQ(got.size(), c.count);
    EXPECT_EQ(got[1], c.second);
    EXPECT_EQ(got.back(), c.last);
    EXPECT_EQ(std::accumulate(got.begin(), got.end(), int64_t{0}), c.sum);
  }
  EXPECT_EQ(choose_glm46v_frames(8000, 10, 16).indices.size(), 16u);
}

TEST(Glm4vFrames, AreTakenFromAVideoFileAtTheRateThatTheirStampsNeed) {
  const FrameRule rule{.fps = 2, .choice = FrameChoice::by_second, .max_duration = 300};
  const ClipFrames second = sample_frames(100, 30, rule), long_clip = sample_frames(8000, 10, rule),
                   sparse = sample_frames(10, 1, rule);
  EXPECT_EQ(second.indices, choose_glm4v_frames(100, 30, 2, 300).indices);
  EXPECT_NEAR(second.fps, 2, 1e-9);
  EXPECT_NEAR(long_clip.fps, 0.75, 0.01);  // 600 frames of 800 seconds
  EXPECT_EQ(sparse.fps, 1);
  // A number of frames is spread over the whole clip.
  EXPECT_THAT(sample_frames(100, 30, {.num_frames = 4, .choice = FrameChoice::by_second}).indices,
              ElementsAre(0, 33, 66, 99));
}

TEST(Glm4v, ARequestMayAskForOtherFrames) {
  const auto pairs = [](const ProcessorOptions& asked) {
    OpenedMedia clip = flat(MediaKind::video, 64, 4.0);  // 16 seconds
    clip.options = asked;
    return glm().from_text(kClip, false, {clip}).media.size();
  };
  EXPECT_EQ(pairs({}), 16u);
  EXPECT_EQ(pairs({.fps = 1}), 8u);
  EXPECT_EQ(pairs({.num_frames = 4}), 2u);
  EXPECT_EQ(pairs({.max_frames = 8}), 4u);
  EXPECT_THAT(message_of([&] { pairs({.min_frames = 8}); }), HasSubstr("min_frames"));
}

// Every pair of frames is a picture of its own, with its second behind it.
TEST(Glm4v, ClipsAreStampedPictures) {
  const Prompt prompt = glm().from_text(kClip, false, {flat(MediaKind::video, 25, 1.0)});
  ASSERT_EQ(prompt.media.size(), 13u);
  const Tokenizer& tokenizer = glm().tokenizer();
  std::string stamps;
  for (size_t i = 0; i < prompt.media.size(); ++i) {
    const MediaSpan& span = prompt.media[i];
    EXPECT_EQ(span.count, span.media->tokens);
    EXPECT_EQ(span.media->grid_t, 1);
    EXPECT_EQ(span.media->part, static_cast<int32_t>(i));
    EXPECT_EQ(span.media->parts, 13);
    size_t at = static_cast<size_t>(span.first_token + span.count) + 1;  // behind the end mark
    std::string stamp;
    for (; at < prompt.ids.size() && !tokenizer.is_special(prompt.ids[at]); ++at)
      stamp += tokenizer.token_bytes(prompt.ids[at]);
    stamps += stamp + " ";
  }
  EXPECT_EQ(stamps, "0 2 4 6 8 10 12 14 16 18 20 22 24 ");
  // The last frame is shown twice; a frame that differs makes another picture.
  EXPECT_NE(prompt.media[0].media->hash, prompt.media[1].media->hash);
}

TEST(Glm4v, TheRangeOfPixelsCountsFrames) {
  OpenedMedia picture = flat(MediaKind::image, 1, 2.0, 112, 112);
  const std::string text = "<|begin_of_image|><|image|><|end_of_image|>";
  EXPECT_EQ(glm().from_text(text, false, {picture}).media[0].count, 9);  // 2 x 10976 at most
  picture.options.max_pixels = 56 * 56;  // of the picture, which counts twice
  EXPECT_EQ(glm().from_text(text, false, {picture}).media[0].count, 4);
  EXPECT_THAT(
      message_of([] { glm().from_text(kClip, false, {flat(MediaKind::video, 2, 2.0, 300, 1)}); }),
      HasSubstr("aspect ratio"));
}

// A folder of links to a golden one, with one file changed.
class Changed {
 public:
  Changed(const std::string& golden, const std::string& file, const char* key, const Json& value)
      : folder_(fs::temp_directory_path() /
                ("quern_" + std::to_string(::getpid()) + "_" + golden)) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (const auto& entry : fs::directory_iterator(kGolden + golden))
      if (entry.path().filename() != file)
        fs::create_symlink(entry.path(), folder_ / entry.path().filename());
    Json json = read_json_file(kGolden + golden + "/" + file);
    if (value.is_null())
      json.erase(key);
    else
      json[key] = value;
    std::ofstream(folder_ / file) << json.dump();
  }
  ~Changed() { fs::remove_all(folder_); }
  std::string path() const { return folder_.string(); }

 private:
  fs::path folder_;
};

TEST(Processors, FilesThatDoNotBelongTogetherAreRefusedByName) {
  struct Case {
    const char *golden, *file, *key;
    Json value;
    const char* said;
  };
  const Case cases[] = {
      {"glm4v", "config.json", "image_token_id", 570, "image_token_id"},
      {"glm4v", "config.json", "video_start_token_id", 3, "<|begin_of_video|>"},
      {"glm4v", "config.json", "image_end_token_id", nullptr, "image_end_token_id"},
      {"glm4v", "preprocessor_config.json", "patch_size", 16, "patches of 14 pixels"},
      {"glm4v", "preprocessor_config.json", "image_std", -1, "image_std"},
      {"glm4v", "preprocessor_config.json", "resample", 1, "resample 1"},
      {"glm4v", "video_preprocessor_config.json", "fps", 0, "fps 0"},
      {"hunyuan_vl", "config.json", "im_start_id", 570, "they mean the same"},
      {"hunyuan_vl", "config.json", "rope_scaling", nullptr, "rope_scaling"},
      {"hunyuan_vl", "preprocessor_config.json", "temporal_patch_size", 2, "2 frames"},
      {"hunyuan_vl", "preprocessor_config.json", "merge_size", 3, "3"},
      {"hunyuan_vl", "preprocessor_config.json", "max_pixels", 0, "pixel limits"}};
  for (const Case& c : cases) {
    const Changed folder(c.golden, c.file, c.key, c.value);
    EXPECT_THAT(message_of([&] { Opened opened(folder.path()); }), HasSubstr(c.said))
        << c.file << " " << c.key;
  }
}

TEST(HunyuanVl, PicturesStandBetweenTheirMarks) {
  const std::string start = "<｜hy_place▁holder▁no▁100｜>", image = "<｜hy_place▁holder▁no▁102｜>",
                    end = "<｜hy_place▁holder▁no▁101｜>";
  const OpenedMedia picture = flat(MediaKind::image, 1, 2.0, 64, 96);
  const Prompt prompt = hunyuan().from_text(start + image + end + "x", false, {picture});
  EXPECT_EQ(prompt.axes, 4);
  EXPECT_EQ(prompt.rope_delta, 0);
  ASSERT_EQ(prompt.media.size(), 1u);
  EXPECT_EQ(prompt.media[0].count, 3 * (2 + 1) + 2);
  EXPECT_THAT(message_of([&] { hunyuan().from_text("a" + image + end, false, {picture}); }),
              HasSubstr("must stand between"));
  EXPECT_THAT(message_of([&] { hunyuan().from_text(image, false, {picture}); }),
              HasSubstr("must stand between"));
  EXPECT_THAT(
      message_of([&] { hunyuan().from_text("x", false, {flat(MediaKind::video, 2, 2.0)}); }),
      HasSubstr("this model sees pictures"));
  EXPECT_EQ(hunyuan().from_ids({5, 6}).axes, 4);
}

TEST(Processors, SayHowLargeAPictureCanGet) {
  for (const PromptBuilder* builder : {&glm(), &hunyuan()})
    for (const int64_t tokens : {1, 5, 40, 1000, 1 << 20}) {
      const auto largest = builder->largest_medium(tokens);
      ASSERT_TRUE(largest.has_value());
      EXPECT_EQ(largest->rows, largest->grid_h * largest->grid_w);
      EXPECT_GE(largest->tokens, 1);
      if (tokens >= 40) {
        EXPECT_LE(largest->tokens, tokens);
      }
    }
}

}  // namespace
}  // namespace quern
