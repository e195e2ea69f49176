// SPDX-License-Identifier: Apache-2.0
// On the golden Qwen2-VL and text folders: what requests can get wrong, and that every way in leads
// to the same prompt.
#include "prompt/prompt_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace quern {
namespace {

using testing::HasSubstr;

struct Model {
  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<PromptBuilder> builder;
};

Model open_model(const std::string& name,
                 std::optional<std::string> chat_template = {},
                 const ProcessorOptions& options = {}) {
  const std::string folder = QUERN_SOURCE_DIR "/tests/golden/" + name;
  Model model{open_checkpoint(folder), nullptr};
  model.builder = PromptBuilder::open(folder, *model.checkpoint, std::move(chat_template), options);
  return model;
}

const PromptBuilder& vision() {
  static const Model model = open_model("qwen2_vl");
  return *model.builder;
}

const PromptBuilder& text_only() {
  static const Model model = open_model("qwen2_tied");
  return *model.builder;
}

MediaSource local_source(int max_images = 32) {
  MediaLimits limits;
  limits.allowed_local_path = QUERN_SOURCE_DIR "/tests/golden";
  limits.max_per_prompt = {max_images, 1, 0};
  return MediaSource(limits);
}

std::string input_url(const std::string& name) {
  return "file://" QUERN_SOURCE_DIR "/tests/golden/qwen2_vl/inputs/" + name;
}

OpenedMedia opened(const std::string& name) {
  return local_source().open_image(input_url(name), "here");
}

OpenedMedia flat_picture(int64_t width, int64_t height) {
  OpenedMedia media;
  media.frames.push_back(
      {width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3), 90)});
  return media;
}

template <typename Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorCode::internal, "no error");
}

Json user(Json content) {
  return Json::array({{{"role", "user"}, {"content", std::move(content)}}});
}

TEST(PromptBuilder, MessagesAndTextsMeet) {
  const Json messages =
      user({{{"type", "image_url"}, {"image_url", {{"url", input_url("image_a.png")}}}},
            {{"type", "text"}, {"text", "and"}},
            {{"type", "image"}, {"image", input_url("image_b.jpg")}}});
  const Prompt a = vision().from_messages(messages, {}, local_source());
  EXPECT_EQ(a.text, vision().render(messages, {}));
  const Prompt b = vision().from_text(a.text, false, [] {
    std::vector<OpenedMedia> media;
    media.push_back(opened("image_a.png"));
    media.push_back(opened("image_b.jpg"));
    return media;
  }());
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.positions, b.positions);
  ASSERT_EQ(a.media.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(a.media[i].first_token, b.media[i].first_token);
    EXPECT_EQ(a.media[i].count, a.media[i].media->tokens);
    EXPECT_EQ(a.media[i].media->hash, b.media[i].media->hash);
  }
  EXPECT_NE(a.media[0].media->hash, a.media[1].media->hash);
}

TEST(PromptBuilder, MediaKeepTheirOrderAcrossMessagesAndKinds) {
  Json messages =
      user({{{"type", "video"},
             {"video",
              {input_url("video_0.png"), input_url("video_1.png"), input_url("video_2.png")}}}});
  messages.push_back({{"role", "assistant"}, {"content", "I see."}});
  messages.push_back(user({{{"type", "image"}, {"image", input_url("image_a.png")}},
                           {{"type", "text"}, {"text", "?"}}})[0]);
  const Prompt prompt = vision().from_messages(messages, {}, local_source());
  ASSERT_EQ(prompt.media.size(), 2u);
  EXPECT_EQ(prompt.media[0].media->kind, MediaKind::video);
  EXPECT_EQ(prompt.media[0].media->grid_t, 2);  // three frames, the last one twice
  EXPECT_EQ(prompt.media[0].media->seconds_per_grid, 1.0);
  EXPECT_EQ(prompt.media[1].media->kind, MediaKind::image);
  EXPECT_LT(prompt.media[0].first_token + prompt.media[0].count, prompt.media[1].first_token);
}

TEST(PromptBuilder, PlaceholdersAndMediaMustMatch) {
  const std::string text = "<|vision_start|><|image_pad|><|vision_end|>";
  EXPECT_THAT(error_of([&] { vision().from_text(text, false); }).message(),
              HasSubstr("places for 1 pictures (<|image_pad|>), and 0 came"));
  EXPECT_EQ(error_of([&] { vision().from_text("no place", false, {flat_picture(56, 56)}); }).code(),
            ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([&] {
              vision().from_messages(user("say <|image_pad|>"), {}, local_source());
            }).code(),
            ErrorCode::invalid_argument);
}

TEST(PromptBuilder, TextModelsRefuseMedia) {
  const Json messages = user({{{"type", "text"}, {"text", "look"}},
                              {{"type", "image_url"}, {"image_url", {{"url", "data:,"}}}}});
  EXPECT_THAT(error_of([&] { text_only().from_messages(messages, {}, MediaSource()); }).what(),
              HasSubstr("messages[0].content[1]: this model takes text only"));
  EXPECT_EQ(error_of([&] { text_only().from_text("x", false, {flat_picture(56, 56)}); }).code(),
            ErrorCode::invalid_argument);
  EXPECT_FALSE(text_only().takes_media());
  EXPECT_TRUE(vision().takes_media());
}

TEST(PromptBuilder, CountsAreBoundedBeforePixelsAreMade) {
  const Json two = user({{{"type", "image"}, {"image", input_url("image_a.png")}},
                         {{"type", "image"}, {"image", input_url("image_a.png")}}});
  EXPECT_THAT(error_of([&] { vision().from_messages(two, {}, local_source(1)); }).message(),
              HasSubstr("2 pictures; at most 1 of kind \"image\""));
  // The URLs are not looked at: these lead nowhere.
  const Json clips = user({{{"type", "video"}, {"video", {"ftp://none"}}},
                           {{"type", "video"}, {"video", {"ftp://none"}}}});
  EXPECT_THAT(error_of([&] { vision().from_messages(clips, {}, local_source()); }).message(),
              HasSubstr("2 clips; at most 1 of kind \"video\""));
  const Json sound = user({{{"type", "input_audio"}, {"input_audio", {{"data", "x"}}}}});
  EXPECT_THAT(error_of([&] { vision().from_messages(sound, {}, local_source()); }).message(),
              HasSubstr("messages[0].content[0]: this model takes no recordings"));
  std::vector<OpenedMedia> many;  // 6 tokens each, with a context of 4,096
  std::string text;
  for (int i = 0; i < 600; ++i) {
    many.push_back(flat_picture(56, 84));
    text += "<|image_pad|>";
  }
  EXPECT_NO_THROW(vision().from_text(text, false, many));
  for (int i = 0; i < 600; ++i) {
    many.push_back(flat_picture(56, 84));
    text += "<|image_pad|>";
  }
  EXPECT_THAT(error_of([&] { vision().from_text(text, false, many); }).message(),
              HasSubstr("the model's context is 4096"));
}

TEST(PromptBuilder, BadPicturesAreNamedByTheirPlace) {
  EXPECT_THAT(error_of([] {
                vision().from_messages(
                    user({{{"type", "image"}, {"image", "data:,GIF89a"}}}), {}, MediaSource());
              }).what(),
              HasSubstr("messages[0].content[0]: GIF picture"));
  EXPECT_THAT(error_of([] {
                vision().from_text("<|image_pad|>", false, {flat_picture(300, 1)});
              }).message(),
              HasSubstr("aspect ratio"));
  OpenedMedia clip = flat_picture(56, 56);
  clip.kind = MediaKind::video;
  clip.frames.push_back({28, 28, std::vector<uint8_t>(28 * 28 * 3)});
  EXPECT_THAT(error_of([&] { vision().from_text("<|video_pad|>", false, {clip}); }).message(),
              HasSubstr("one size"));
}

TEST(PromptBuilder, APartNarrowsThePixelRange) {
  OpenedMedia small = flat_picture(84, 84);
  small.options.max_pixels = 4000;
  EXPECT_EQ(vision().from_text("<|image_pad|>", false, {small}).media[0].count, 4);
  small.options.max_pixels = int64_t{1} << 40;  // wider than the model's: no effect
  EXPECT_EQ(vision().from_text("<|image_pad|>", false, {small}).media[0].count, 9);
}

TEST(PromptBuilder, OptionsReplaceTheModelsRangeAndRequestsNarrowIt) {
  const ProcessorOptions options{.min_pixels = 28 * 28, .max_pixels = 4 * 28 * 28};
  const Model model = open_model("qwen2_vl", {}, options);
  const auto count = [](const PromptBuilder& builder, const ProcessorOptions& asked) {
    const Json messages = user({{{"type", "image"}, {"image", input_url("image_a.png")}}});
    return builder.from_messages(messages, {.processor = asked}, local_source()).media[0].count;
  };
  const int32_t whole = count(vision(), {});
  EXPECT_GT(whole, 4);
  EXPECT_LE(count(*model.builder, {}), 4);
  EXPECT_LE(count(*model.builder, {.max_pixels = 1 << 24}), 4);
  EXPECT_LE(count(vision(), {.max_pixels = 4 * 28 * 28}), 4);
  EXPECT_EQ(count(*model.builder, {.max_pixels = 28 * 28}), 1);
  EXPECT_EQ(model.builder->largest_medium(1000)->tokens, 4);
  EXPECT_THROW(open_model("qwen2_tied", {}, options), Error);
}

TEST(PromptBuilder, RepeatedMediaComeFromTheCache) {
  MediaLimits limits;
  limits.allowed_local_path = QUERN_SOURCE_DIR "/tests/golden";
  const MediaSource source(limits, nullptr, std::make_shared<MediaCache>(1 << 20));
  const Json messages = user({{{"type", "image"}, {"image", input_url("image_a.png")}},
                              {{"type", "image"}, {"image", input_url("image_a.png")}}});
  const Prompt cached = vision().from_messages(messages, {}, source);
  const Prompt plain = vision().from_messages(messages, {}, local_source());
  EXPECT_EQ(cached.ids, plain.ids);
  EXPECT_EQ(cached.media[0].media, cached.media[1].media);  // one copy
  EXPECT_EQ(cached.media[1].media->hash, plain.media[1].media->hash);
  EXPECT_EQ(source.stats().cache.queries, 2);
  EXPECT_EQ(source.stats().cache.hits, 1);
  vision().from_messages(messages, {.processor = {.max_pixels = 4 * 28 * 28}}, source);
  EXPECT_EQ(source.stats().cache.hits, 2);  // another size is another entry
}

TEST(PromptBuilder, AVideoFileIsSampledOnce) {
  if (!has_video_decoder()) GTEST_SKIP() << "this build decodes no video files";
  MediaLimits limits;
  limits.allowed_local_path = QUERN_SOURCE_DIR "/tests/fuzz/clip";
  const std::string url = "file://" QUERN_SOURCE_DIR "/tests/fuzz/clip/steps.mp4";
  const Json messages = user({{{"type", "video_url"}, {"video_url", {{"url", url}}}}});
  const auto clip = [&](const ProcessorOptions& options) {
    return vision().from_messages(messages, {.processor = options}, MediaSource(limits)).media[0];
  };
  EXPECT_EQ(clip({}).media->grid_t, 3);  // six frames of three seconds
  EXPECT_NEAR(clip({}).media->seconds_per_grid, 1.0, 0.01);
  EXPECT_EQ(clip({.fps = 4}).media->grid_t, 6);
  EXPECT_EQ(clip({.max_frames = 4}).media->grid_t, 2);
}

TEST(PromptBuilder, IdsAreTakenAsTheyAre) {
  const Prompt prompt = vision().from_ids({5, 6, 7});
  EXPECT_EQ(prompt.axes, 3);
  EXPECT_THAT(prompt.positions, testing::ElementsAre(0, 1, 2, 0, 1, 2, 0, 1, 2));
  EXPECT_EQ(text_only().from_ids({5}).axes, 1);
  const int32_t placeholder = *vision().tokenizer().token_to_id("<|image_pad|>");
  EXPECT_THAT(error_of([&] {
                vision().from_ids({1, placeholder});
              }).message(),
              HasSubstr("stands for media"));
  EXPECT_EQ(error_of([] { text_only().from_ids({-1}); }).code(), ErrorCode::invalid_argument);
  EXPECT_EQ(error_of([] { text_only().from_ids({1 << 30}); }).code(), ErrorCode::invalid_argument);
}

TEST(PromptBuilder, ContinuesTheLastMessage) {
  Json messages = user("Hi");
  messages.push_back({{"role", "assistant"}, {"content", "The answer is"}});
  const std::string text = text_only().render(messages, {.continue_final_message = true});
  EXPECT_TRUE(text.ends_with("<|im_start|>assistant\nThe answer is")) << text;
}

TEST(PromptBuilder, AGivenTemplateReplacesTheModels) {
  const Model model = open_model(
      "qwen2_tied", "{{ eos_token }}|{{ x }}|{{ messages[0].content }}|{{ tools is none }}");
  const Json kwargs{{"x", 3}, {"messages", "not these"}};
  EXPECT_EQ(model.builder->render(user("Hi"), {.template_kwargs = &kwargs}),
            "<|im_end|>|3|Hi|True");
  EXPECT_EQ(error_of([] { open_model("qwen2_tied", "{% if %}"); }).code(),
            ErrorCode::invalid_argument);
}

TEST(PromptBuilder, UnknownMediaModelsAreUnsupported) {
  const auto open = [](const char* config) {
    const auto checkpoint = shapes_only_checkpoint(Config::parse(config, "config.json"), {});
    PromptBuilder::open(QUERN_SOURCE_DIR "/tests/golden/qwen2_tied", *checkpoint, {}, {});
  };
  for (const char* tower : {"vision_config", "audio_config"}) {
    const std::string config = format(R"({{"model_type": "walrus", "{}": {{}}}})", tower);
    EXPECT_EQ(error_of([&] { open(config.c_str()); }).code(), ErrorCode::unsupported) << tower;
  }
}

}  // namespace
}  // namespace quern
