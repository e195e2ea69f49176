// SPDX-License-Identifier: Apache-2.0
// For the tests of this room: one golden folder and the model loaded from it.
// tests/golden/README.md says what the fields mean.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "base/json.h"
#include "models/registry.h"
#include "nn/owned_ctx.h"
#include "nn/sequence_runner.h"

namespace quern {

const std::string kGoldenFolder = std::string(QUERN_SOURCE_DIR) + "/tests/golden/";

// Folders of kind "model" whose architecture this build carries, with weights of floats; of 4 bits
// and 8 too if asked for.
inline std::vector<std::string> golden_models(bool quantized_too = false) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldenFolder)) {
    const std::string folder = entry.path().string();
    if (!std::filesystem::exists(folder + "/config.json")) continue;
    if (read_json_file(folder + "/expected.json").value("kind", "") != "model") continue;
    const Config config = Config::read(folder + "/config.json");
    const std::string architecture = config.strings("architectures").at(0);
    const bool is_known = std::ranges::any_of(
        model_table(), [&](const ModelEntry& e) { return e.architecture == architecture; });
    if (is_known && (quantized_too || !config.has("quantization_config")))
      out.push_back(entry.path().filename().string());
  }
  std::ranges::sort(out);
  return out;
}

// Largest amount by which a value is off beyond atol + rtol |expected|; at most 0 where all hold.
inline double excess(std::span<const float> got,
                     std::span<const float> expected,
                     double atol,
                     double rtol) {
  if (got.size() != expected.size()) return INFINITY;
  double worst = -INFINITY;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error =
        std::abs(static_cast<double>(got[i]) - expected[i]) - rtol * std::abs(expected[i]) - atol;
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

class ModelGolden {
 public:
  ModelGolden(const std::string& name, Isa isa)
      : owned_({.threads = isa == Isa::scalar ? 1 : 2,
                .isa = isa,
                .activation = Activation::f32,
                .arena_bytes = 1 << 24}),
        expected_(read_json_file(kGoldenFolder + name + "/expected.json")),
        tensors_(open_checkpoint(kGoldenFolder + name + "/expected.safetensors")),
        checkpoint_(open_checkpoint(kGoldenFolder + name)),
        model_(make_model(Builder(checkpoint_, owned_.ctx(), {}, building()))) {
    atol = expected_["tolerance"]["float32"]["atol"].get<double>();
    rtol = expected_["tolerance"]["float32"]["rtol"].get<double>();
  }

  // What the case's reference_rules say of the model.
  BuilderOptions building() const {
    const Json rules = expected_.value("reference_rules", Json::object());
    return {.reference = {.xdrope_layout = rules.value("xdrope_layout", ""),
                          .position_resize = rules.value("position_resize", "")}};
  }

  Ctx& ctx() { return owned_.ctx(); }
  Arena& arena() { return owned_.arena(); }
  const Model& model() const { return *model_; }
  const std::shared_ptr<const Checkpoint>& checkpoint() const { return checkpoint_; }
  const Json& prompts() const { return expected_["prompts"]; }

  bool has(const std::string& field) const { return tensors_->has(field); }
  Tensor floats(const std::string& field) const { return read_f32(*tensors_, field); }
  std::vector<int32_t> integers(const std::string& field) const {
    if (!has(field)) return {};
    const Tensor t = read_tensor(*tensors_, field);
    return {t.data<int64_t>(), t.data<int64_t>() + t.numel()};
  }
  bool is_close(const Tensor& got, const Tensor& expected) const {
    return excess(
               got.contiguous().span<float>(), expected.contiguous().span<float>(), atol, rtol) <=
           0;
  }

  double atol = 0, rtol = 0;

 private:
  OwnedCtx owned_;
  Json expected_;
  std::unique_ptr<Checkpoint> tensors_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Model> model_;
};

constexpr MediaKind kMediaKinds[] = {MediaKind::image, MediaKind::video, MediaKind::audio};

// What the fields of a kind begin with.
inline std::string prefix_of(const std::string& prompt, MediaKind kind) {
  return prompt + (kind == MediaKind::image   ? ".image_"
                   : kind == MediaKind::video ? ".video_"
                                              : ".audio_");
}

// The windows of a recording that become tokens: mel frames as far as they are stored, silence
// behind them.
inline std::vector<MediaInput> stored_windows(const ModelGolden& c, const std::string& prompt) {
  std::vector<MediaInput> out;
  if (!c.has(prompt + ".input_features")) return out;
  const Json& entry = *std::ranges::find_if(
      c.prompts(), [&](const Json& p) { return p["name"].get<std::string>() == prompt; });
  const Tensor features = c.floats(prompt + ".input_features");  // [windows, bands, stored frames]
  const std::vector<int32_t> mask = c.integers(prompt + ".input_features_mask");
  const int64_t bands = features.dim(1), stored = features.dim(2);
  const float silence = entry["padding_mel_value_min_max"][0].get<float>();
  for (int64_t w = 0; w < features.dim(0); ++w) {
    MediaInput media;
    media.kind = MediaKind::audio;
    media.rows = entry["input_features_shape"][2].get<int64_t>();
    media.row_size = bands;
    media.valid_rows =
        std::accumulate(mask.begin() + w * stored, mask.begin() + (w + 1) * stored, int64_t{0});
    media.tokens = (media.valid_rows + 1) / 2 / 4;
    media.values.assign(static_cast<size_t>(media.rows * bands), silence);
    const float* from = features.data<float>() + w * bands * stored;
    for (int64_t band = 0; band < bands; ++band)
      for (int64_t frame = 0; frame < stored; ++frame)
        media.values[static_cast<size_t>(frame * bands + band)] = from[band * stored + frame];
    if (media.tokens > 0) out.push_back(std::move(media));
  }
  return out;
}

// The media of one kind of a prompt as the tower takes them; empty where pixels or mel frames are
// not stored.
inline std::vector<MediaInput> stored_media(const ModelGolden& c,
                                            const std::string& prompt,
                                            MediaKind kind) {
  if (kind == MediaKind::audio) return stored_windows(c, prompt);
  const bool is_image = kind == MediaKind::image;
  const std::string field = prompt + (is_image ? ".pixel_values" : ".pixel_values_videos");
  std::vector<MediaInput> out;
  if (!c.has(field)) return out;
  const Tensor pixels = c.floats(field);
  const std::vector<int32_t> grids =
      c.integers(prompt + (is_image ? ".image_grid_thw" : ".video_grid_thw"));
  int64_t row = 0;
  for (size_t i = 0; i + 2 < grids.size(); i += 3) {
    MediaInput media;
    media.kind = kind;
    media.grid_t = grids[i], media.grid_h = grids[i + 1], media.grid_w = grids[i + 2];
    media.rows = media.grid_t * media.grid_h * media.grid_w;
    media.row_size = pixels.dim(1);
    const Tensor part = pixels.slice(0, row, row + media.rows);
    media.values.assign(part.data<float>(), part.data<float>() + part.numel());
    row += media.rows;
    out.push_back(std::move(media));
  }
  return out;
}

// The rows of all media of one kind of a prompt: of the tower where what it takes is stored, else
// as stored.
inline Tensor media_rows(ModelGolden& c, const std::string& prompt, MediaKind kind) {
  const std::vector<MediaInput> media = stored_media(c, prompt, kind);
  const std::string stored = prefix_of(prompt, kind) + "embeds";
  if (media.empty()) return c.has(stored) ? c.floats(stored) : Tensor();
  std::vector<Tensor> parts;
  int64_t rows = 0;
  for (const MediaInput& one : media)
    rows += parts.emplace_back(c.model().encode(c.ctx(), one)).dim(0);
  Tensor out = Tensor::empty({rows, parts[0].dim(1)}, DType::f32);
  float* at = out.data<float>();
  for (const Tensor& part : parts) at = std::ranges::copy(part.span<float>(), at).out;
  return out;
}

// What a SequenceRunner takes, with the memory behind it.
struct GoldenPrompt {
  std::vector<int32_t> ids, positions, sample_rows;
  std::vector<MediaRows> media;
  int axes = 1;
  int32_t next_position = 0;

  GoldenPrompt(ModelGolden& c, const std::string& name)
      : ids(c.integers(name + ".input_ids")),
        positions(c.integers(name + ".position_ids")),
        sample_rows(c.integers(name + ".logit_positions")) {
    if (!positions.empty()) axes = static_cast<int>(positions.size() / ids.size());
    const std::vector<int32_t> delta = c.integers(name + ".rope_delta");
    next_position = static_cast<int32_t>(ids.size()) + (delta.empty() ? 0 : delta[0]);
    const std::vector<int32_t> types = c.integers(name + ".mm_token_type_ids");
    add_rows(media_rows(c, name, MediaKind::image), c.model().info().image_token, types, 1);
    add_rows(media_rows(c, name, MediaKind::video), c.model().info().video_token, types, 2);
    add_rows(media_rows(c, name, MediaKind::audio), c.model().info().audio_token, types, 3);
  }

  SequenceInput input() const { return {ids, positions, axes, media}; }

  // What the stored continuation follows. Where a case stores no attention mask, the reference's
  // generate() took tokens with its padding id 0 for padding and left them out of the context. The
  // case itself shows it: its logits behind the prompt are not those that the continuation begins
  // with.
  void leave_out_padding(const ModelGolden& c, const std::string& name) {
    if (c.has(name + ".attention_mask") || !std::ranges::count(ids, 0)) return;
    const Tensor logits = c.floats(name + ".logits");
    const Tensor behind = logits.select(0, logits.dim(0) - 1),
                 first = c.floats(name + ".greedy_top_logits").select(0, 0);
    const int32_t best = c.integers(name + ".greedy_ids").at(0);
    const double off = std::abs(behind.data<float>()[best] - first.data<float>()[0]);
    if (off <= c.atol + c.rtol * std::abs(first.data<float>()[0])) return;
    QUERN_CHECK(positions.empty(), "positions of a prompt without a mask");
    next_position -= static_cast<int32_t>(std::erase(ids, 0));
  }

 private:
  // The k-th placeholder takes the k-th row: one MediaRows per run of placeholders. `types`, where
  // a case stores them, tell apart kinds that share a placeholder.
  void add_rows(const Tensor& rows,
                int32_t placeholder,
                const std::vector<int32_t>& types,
                int32_t type) {
    if (!rows.defined()) return;
    int64_t used = 0;
    for (size_t begin = 0, end = 0; begin < ids.size(); begin = end) {
      for (end = begin + 1; end < ids.size() && ids[end] == ids[begin];) ++end;
      if (ids[begin] != placeholder || (!types.empty() && types[begin] != type)) continue;
      const auto count = static_cast<int64_t>(end - begin);
      media.push_back({static_cast<int32_t>(begin), rows.slice(0, used, used + count)});
      used += count;
    }
    QUERN_CHECK(used == rows.dim(0), "{} placeholders for {} rows", used, rows.dim(0));
  }
};

}  // namespace quern
