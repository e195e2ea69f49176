// SPDX-License-Identifier: Apache-2.0
#include "verify/model_case.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "models/registry.h"
#include "nn/sequence_runner.h"
#include "nn/thread_ranks.h"
#include "verify/judge_sound.h"

namespace quern {
namespace {

// Keeps what the decoder shows of the last position, layer by layer, and the tower's last state.
class LastPosition : public Probe {
 public:
  void record(std::string_view name, int layer, const Tensor& value) override {
    if (name == "image_encoder_last_hidden" || name == "audio_encoder_last_hidden")
      last_hidden = to_f32(value.contiguous());
    if (name == "router_ids" || name == "router_weights") {
      std::vector<float>& rows = (name == "router_ids" ? router_ids : router_weights)[layer];
      rows.insert(rows.end(), value.span<float>().begin(), value.span<float>().end());
    }
    if (name != "hidden" || value.dim(0) == 0) return;
    if (layers.size() <= static_cast<size_t>(layer)) layers.resize(static_cast<size_t>(layer) + 1);
    const auto row = value.select(0, value.dim(0) - 1).contiguous();
    layers[static_cast<size_t>(layer)].assign(row.span<float>().begin(), row.span<float>().end());
  }

  std::vector<std::vector<float>> layers;
  Tensor last_hidden;
  std::map<int, std::vector<float>> router_ids, router_weights;
};

std::vector<MediaRows> rows_of(const std::vector<MediaSpan>& media,
                               const std::vector<Encoded>& encoded) {
  std::vector<MediaRows> out;
  for (size_t i = 0; i < media.size(); ++i) {
    if (encoded[i].embeds.dim(0) != media[i].count)
      fail(ErrorCode::data_loss,
           "medium {}: {} encoder rows for {} placeholder tokens",
           i,
           encoded[i].embeds.dim(0),
           media[i].count);
    out.push_back({media[i].first_token, encoded[i].embeds});
  }
  return out;
}

}  // namespace

ReferenceChoice reference_of(const GoldenCase& golden) {
  const Json stated = golden.expected().value("reference_rules", Json::object());
  return {.xdrope_layout = stated.value("xdrope_layout", ""),
          .position_resize = stated.value("position_resize", "")};
}

ModelCase::ModelCase(const GoldenCase& golden, const VerifyMode& mode)
    : golden_(golden),
      degrees_(mode.degrees),
      source_(find_model(golden.folder())),
      checkpoint_(open_checkpoint(source_.path)),
      ctx_({.threads = mode.threads, .isa = mode.isa, .activation = mode.activation}) {}

const PromptBuilder& ModelCase::prompts() {
  if (!prompts_) prompts_ = PromptBuilder::open(source_.tokenizer_path(), *checkpoint_);
  return *prompts_;
}

const Model& ModelCase::model() {
  if (model_) return *model_;
  const BuilderOptions building{.reference = reference_of(golden_)};
  if (degrees_.world() == 1)
    model_ = make_model(Builder(checkpoint_, ctx_.ctx(), {}, building));
  else
    model_ = std::make_unique<ThreadRanks>(
        checkpoint_,
        OwnedCtx::Options{.threads = 1, .isa = ctx_.ctx().isa, .activation = ctx_.ctx().activation},
        degrees_,
        [](const Builder& b) { return make_model(b); },
        building);
  return *model_;
}

PromptRules ModelCase::rules() const {
  // A case's clip is its list of frames; a recording is cut where the reference cuts it.
  PromptRules rules{.sample_frames = false, .cut_long_recordings = true};
  const Json stated = golden_.expected().value("reference_rules", Json::object());
  rules.transformers_video_positions = stated.value("video_next_position", "") == "max(h,w)";
  return rules;
}

OpenedMedia ModelCase::open_clip(const Json& frames) const {
  OpenedMedia out;
  out.kind = MediaKind::video;
  for (const Json& name : frames) {
    const std::string bytes = read_file(golden_.file("inputs/" + name.get<std::string>()));
    out.frames.push_back(decode_image(std::as_bytes(std::span(bytes))));
  }
  return out;
}

OpenedMedia ModelCase::open_sound(const std::string& name) {
  const std::string bytes = read_file(golden_.file("inputs/" + name));
  return {.kind = MediaKind::audio,
          .frames = {},
          .sound = decode_sound(std::as_bytes(std::span(bytes)), prompts().sound_rate_hz())};
}

Prompt ModelCase::prompt_from_files(const Json& prompt) {
  std::vector<OpenedMedia> media;
  for (const Json& image : prompt.value("images", Json::array())) {
    media.push_back(open_clip(Json::array({image})));
    media.back().kind = MediaKind::image;
  }
  for (const Json& clip : prompt.value("videos", Json::array())) media.push_back(open_clip(clip));
  for (const Json& sound : prompt.value("audios", Json::array()))
    media.push_back(open_sound(sound.get<std::string>()));
  return prompts().from_text(
      prompt.at("text").get<std::string>(), false, std::move(media), rules());
}

std::optional<std::vector<MediaSpan>> ModelCase::stored_media(const std::string& name,
                                                              const Prompt& prompt) const {
  std::vector<MediaSpan> out = prompt.media;
  const std::string fields[] = {name + ".pixel_values", name + ".pixel_values_videos"};
  int64_t used[] = {0, 0}, windows = 0;
  for (MediaSpan& span : out) {
    if (span.media->kind == MediaKind::audio) {
      if (!golden_.has(name + ".input_features")) return std::nullopt;
      span.media = stored_window(golden_, name, windows++, *span.media);
      continue;
    }
    const size_t which = span.media->kind == MediaKind::video ? 1 : 0;
    if (!golden_.has(fields[which])) return std::nullopt;
    const Tensor pixels = golden_.floats(fields[which]);
    auto media = std::make_shared<MediaInput>(*span.media);
    const int64_t end = used[which] + media->rows;
    if (pixels.rank() != 2 || end > pixels.dim(0) || pixels.dim(1) != media->row_size)
      fail(ErrorCode::data_loss,
           "{}: {}, this build makes [{}, {}]",
           fields[which],
           pixels.shape().text(),
           end,
           media->row_size);
    const auto values = pixels.span<float>().subspan(
        static_cast<size_t>(used[which] * media->row_size), media->values.size());
    media->values.assign(values.begin(), values.end());
    used[which] = end;
    span.media = std::move(media);
  }
  return out;
}

std::vector<Encoded> ModelCase::encode(const std::vector<MediaSpan>& media) {
  std::vector<Encoded> out;
  for (const MediaSpan& span : media) {
    LastPosition probe;
    const Tensor embeds = to_f32(model().encode(ctx_.ctx(), *span.media, &probe));
    out.push_back({span.media->kind, probe.last_hidden, embeds});
  }
  return out;
}

Decoded ModelCase::decode(const Prompt& prompt,
                          const std::vector<MediaSpan>& media,
                          const std::vector<Encoded>& encoded,
                          const std::vector<int32_t>& positions) {
  LastPosition probe;
  const std::vector<MediaRows> rows = rows_of(media, encoded);
  SequenceRunner runner(model(), ctx_.ctx(), static_cast<int64_t>(prompt.ids.size()));
  std::vector<int32_t> ascending = positions;
  std::sort(ascending.begin(), ascending.end());
  ascending.erase(std::unique(ascending.begin(), ascending.end()), ascending.end());
  const Tensor logits =
      runner.prefill({prompt.ids, prompt.positions, prompt.axes, rows}, ascending, 0, &probe);
  Decoded out{std::move(probe.layers), {}};
  out.router_ids = std::move(probe.router_ids);
  out.router_weights = std::move(probe.router_weights);
  const auto vocab = static_cast<size_t>(logits.dim(1));
  for (const int32_t position : positions) {
    const auto at = static_cast<size_t>(
        std::lower_bound(ascending.begin(), ascending.end(), position) - ascending.begin());
    const auto row = logits.span<float>().subspan(at * vocab, vocab);
    out.logits.insert(out.logits.end(), row.begin(), row.end());
  }
  return out;
}

void ModelCase::continue_greedily(const Prompt& prompt,
                                  const std::vector<MediaSpan>& media,
                                  const std::vector<Encoded>& encoded,
                                  int steps,
                                  FunctionRef<bool(std::span<const float> row)> on_row) {
  continue_with(prompt, media, encoded, steps, [&](std::span<float> row) -> std::optional<int32_t> {
    if (!on_row(row)) return std::nullopt;
    return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
  });
}

void ModelCase::continue_with(const Prompt& prompt,
                              const std::vector<MediaSpan>& media,
                              const std::vector<Encoded>& encoded,
                              int steps,
                              Pick pick) {
  const auto length = static_cast<int32_t>(prompt.ids.size());
  const std::vector<MediaRows> rows = rows_of(media, encoded);
  SequenceRunner runner(model(), ctx_.ctx(), length + steps);
  const int32_t last = length - 1;
  Tensor logits =
      runner.prefill({prompt.ids, prompt.positions, prompt.axes, rows}, std::span(&last, 1));
  for (int step = 0; step < steps; ++step) {
    const std::optional<int32_t> token = pick(logits.span<float>());
    if (!token) return;
    if (step + 1 < steps) logits = runner.decode(*token, length + step + prompt.rope_delta);
  }
}

}  // namespace quern
