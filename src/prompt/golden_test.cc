// SPDX-License-Identifier: Apache-2.0
// Every golden model case of the architectures here: rendered text, ids, positions, grids and
// pixels equal the reference exactly.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "prompt/prompt_builder.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

const std::set<std::string> kModelTypes{
    "llama", "qwen2", "qwen2_vl", "qwen2_5_vl", "glm4v", "glm4v_moe", "hunyuan_vl", "glmasr"};

std::vector<fs::path> cases() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(QUERN_SOURCE_DIR "/tests/golden")) {
    const fs::path expected = entry.path() / "expected.json", config = entry.path() / "config.json";
    if (!fs::exists(expected) || !fs::exists(config) ||
        read_json_file(expected).value("kind", "") != "model")
      continue;
    if (kModelTypes.contains(read_json_file(config).value("model_type", "")))
      found.push_back(entry.path());
  }
  return found;
}

Image picture(const fs::path& file) {
  const std::string bytes = read_file(file);
  return decode_image(std::as_bytes(std::span(bytes)));
}

OpenedMedia recording(const fs::path& file) {
  const std::string bytes = read_file(file);
  return {.kind = MediaKind::audio,
          .frames = {},
          .sound = decode_sound(std::as_bytes(std::span(bytes)), 16'000)};
}

std::vector<OpenedMedia> media_of(const Json& prompt, const fs::path& folder) {
  std::vector<OpenedMedia> media;
  for (const Json& name : prompt.value("images", Json::array()))
    media.push_back({.kind = MediaKind::image,
                     .frames = {picture(folder / "inputs" / name.get<std::string>())}});
  for (const Json& names : prompt.value("videos", Json::array())) {
    OpenedMedia clip{.kind = MediaKind::video, .frames = {}};
    for (const Json& name : names)
      clip.frames.push_back(picture(folder / "inputs" / name.get<std::string>()));
    media.push_back(std::move(clip));
  }
  for (const Json& name : prompt.value("audios", Json::array()))
    media.push_back(recording(folder / "inputs" / name.get<std::string>()));
  return media;
}

class Golden {
 public:
  explicit Golden(const fs::path& folder)
      : tensors_(open_checkpoint(folder / "expected.safetensors")) {}

  bool has(const std::string& name) const { return tensors_->has(name); }
  template <typename T>
  std::vector<T> values(const std::string& name) const {
    const auto bytes = tensors_->bytes(name);
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }

 private:
  std::unique_ptr<Checkpoint> tensors_;
};

std::vector<int64_t> widened(const std::vector<int32_t>& values) {
  return {values.begin(), values.end()};
}

// Grids and rows of all media of one kind, one after the other.
struct Rows {
  std::vector<int64_t> grids;
  std::vector<float> values;
};

Rows rows_of(const Prompt& prompt, MediaKind kind) {
  Rows rows;
  for (const MediaSpan& span : prompt.media) {
    const MediaInput& m = *span.media;
    if (m.kind != kind) continue;
    if (m.part == 0) rows.grids.insert(rows.grids.end(), {m.grid_t * m.parts, m.grid_h, m.grid_w});
    rows.values.insert(rows.values.end(), m.values.begin(), m.values.end());
  }
  return rows;
}

void expect_equal_rows(const Golden& golden,
                       const std::string& grid,
                       const std::string& pixels,
                       const Rows& rows) {
  if (golden.has(grid)) {
    EXPECT_EQ(rows.grids, golden.values<int64_t>(grid)) << grid;
  }
  if (golden.has(pixels)) {
    EXPECT_TRUE(rows.values == golden.values<float>(pixels)) << pixels;
  }
}

// That back end rescales and normalises in two steps: the same grey levels, which are 0.014 apart,
// in other last bits.
void expect_equal_levels(const std::vector<float>& expected, const std::vector<float>& values) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], expected[i], 1e-5) << i;
}

// Mel frames come from sums in another order: near, and silence behind what is stored.
void expect_near_features(const Golden& golden, const std::string& name, const Prompt& prompt) {
  if (!golden.has(name + ".input_features")) return;
  const std::vector<float> wanted = golden.values<float>(name + ".input_features");
  const std::vector<int64_t> mask = golden.values<int64_t>(name + ".input_features_mask");
  const auto windows = prompt.media.size(), frames = mask.size() / windows;
  for (size_t w = 0; w < windows; ++w) {
    const MediaInput& media = *prompt.media[w].media;
    const auto bands = static_cast<size_t>(media.row_size);
    ASSERT_EQ(wanted.size(), windows * bands * frames);
    for (size_t frame = 0; frame < frames; ++frame) {
      ASSERT_EQ(mask[w * frames + frame], static_cast<int64_t>(frame) < media.valid_rows);
      for (size_t band = 0; band < bands; ++band)
        ASSERT_NEAR(
            media.values[frame * bands + band], wanted[(w * bands + band) * frames + frame], 2e-4)
            << name << ", window " << w << ", frame " << frame << ", band " << band;
    }
  }
}

void expect_equal_positions(const Golden& golden, const std::string& name, const Prompt& prompt) {
  if (golden.has(name + ".position_ids")) {
    EXPECT_EQ(widened(prompt.positions), golden.values<int64_t>(name + ".position_ids")) << name;
  }
  if (golden.has(name + ".rope_delta")) {
    EXPECT_EQ(prompt.rope_delta, golden.values<int64_t>(name + ".rope_delta")[0]) << name;
  }
}

PromptRules rules_of(const Json& expected) {
  const Json rules = expected.value("reference_rules", Json::object());
  return {.transformers_video_positions = rules.value("video_next_position", "") == "max(h,w)",
          .sample_frames = false};
}

class GoldenTest : public testing::TestWithParam<fs::path> {
 protected:
  void SetUp() override {
    checkpoint_ = open_checkpoint(GetParam());
    builder_ = PromptBuilder::open(GetParam(), *checkpoint_);
    expected_ = read_json_file(GetParam() / "expected.json");
  }

  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<PromptBuilder> builder_;
  Json expected_;
};

TEST_P(GoldenTest, TextsBecomeTheReferencesInputs) {
  const Golden golden(GetParam());
  for (const Json& prompt : expected_["prompts"]) {
    const std::string name = prompt["name"];
    PromptRules rules = rules_of(expected_);
    const Prompt built = builder_->from_text(
        prompt["text"].get<std::string>(), false, media_of(prompt, GetParam()), rules);
    EXPECT_EQ(widened(built.ids), golden.values<int64_t>(name + ".input_ids")) << name;
    expect_equal_positions(golden, name, built);
    expect_equal_rows(
        golden, name + ".image_grid_thw", name + ".pixel_values", rows_of(built, MediaKind::image));
    expect_equal_rows(golden,
                      name + ".video_grid_thw",
                      name + ".pixel_values_videos",
                      rows_of(built, MediaKind::video));
    expect_near_features(golden, name, built);
    if (!golden.has(name + ".pixel_values_pil")) continue;
    rules.resize = ResizeRule::pil;
    const Prompt by_pil = builder_->from_text(
        prompt["text"].get<std::string>(), false, media_of(prompt, GetParam()), rules);
    expect_equal_levels(golden.values<float>(name + ".pixel_values_pil"),
                        rows_of(by_pil, MediaKind::image).values);
  }
}

TEST_P(GoldenTest, MessagesBecomeTheReferencesTexts) {
  for (const Json& prompt : expected_["prompts"]) {
    const Json kwargs = expected_.value("template_kwargs", Json::object());
    const std::string rendered = builder_->render(prompt["messages"], {.template_kwargs = &kwargs});
    EXPECT_EQ(rendered, prompt["text"].get<std::string>()) << prompt["name"];
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenTest, testing::ValuesIn(cases()), [](const auto& info) {
  return info.param.filename().string();
});

}  // namespace
}  // namespace quern
