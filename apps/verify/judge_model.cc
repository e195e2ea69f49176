// SPDX-License-Identifier: Apache-2.0
// Model cases: prompts, tower, decoder, greedy continuation, dequantized weights.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "verify/compare.h"
#include "verify/judge_sound.h"
#include "verify/model_case.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

// What a case stores of a prompt: made without the model, and by it.
const std::set<std::string, std::less<>> kPromptFields = {"text",
                                                          "input_ids",
                                                          "attention_mask",
                                                          "mm_token_type_ids",
                                                          "position_ids",
                                                          "rope_delta",
                                                          "pixel_values",
                                                          "pixel_values_pil",
                                                          "pixel_values_videos",
                                                          "image_grid_thw",
                                                          "video_grid_thw",
                                                          "input_features",
                                                          "input_features_mask"};
const std::set<std::string, std::less<>> kModelFields = {"image_encoder_last_hidden",
                                                         "image_embeds",
                                                         "video_encoder_last_hidden",
                                                         "video_embeds",
                                                         "audio_encoder_last_hidden",
                                                         "audio_embeds",
                                                         "hidden_last_pos",
                                                         "logit_positions",
                                                         "logits",
                                                         "greedy_ids",
                                                         "greedy_top_ids",
                                                         "greedy_top_logits",
                                                         "router_ids",
                                                         "router_weights"};

class ModelJudge {
 public:
  ModelJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden), mode_(mode), report_(report), case_(golden, mode) {}

  void run() {
    const Json& prompts = golden_.expected().at("prompts");
    if (wants_any_of(prompts, kModelFields)) open_model();
    for (const Json& prompt : prompts) judge_prompt(prompt);
    for (const std::string& name : golden_.names()) {
      if (name.starts_with("dequant."))
        judge_field(report_, name, [&] { judge_weight(name); });
      else if (is_unknown(name))
        report_.add({.field = name, .note = "unknown field"});
    }
  }

 private:
  using Fields = std::set<std::string, std::less<>>;

  bool wants_any_of(const std::string& prompt, const Fields& fields) const {
    return std::any_of(fields.begin(), fields.end(), [&](const std::string& field) {
      return report_.wants(prompt + "." + field);
    });
  }
  bool wants_any_of(const Json& prompts, const Fields& fields) const {
    return std::any_of(prompts.begin(), prompts.end(), [&](const Json& prompt) {
      return wants_any_of(prompt.at("name").get<std::string>(), fields);
    });
  }

  void open_model() {
    bound_ = bound_of(mode_.activation);
    try {
      (void)case_.model();
      has_model_ = true;
    } catch (const Error& error) {
      report_.add_obstacle("model", error);
    }
  }

  // tolerance.MODE of expected.json.
  Bound bound_of(Activation activation) const {
    const char* key = activation == Activation::f32   ? "float32"
                      : activation == Activation::f16 ? "float16"
                                                      : "bfloat16";
    const Json tolerances = golden_.expected().value("tolerance", Json::object());
    if (!tolerances.contains(key))
      fail(ErrorCode::unsupported, "tolerance: the case states none for {}", key);
    const Json& t = tolerances[key];
    return {t.value("atol", 0.0), t.value("rtol", 0.0), t.value("mean_abs_limit", 0.0)};
  }

  bool is_unknown(const std::string& name) const {
    const size_t dot = name.find('.');
    if (dot == std::string::npos) return true;
    std::string_view field = std::string_view(name).substr(dot + 1);
    if (field.starts_with("router_ids.") || field.starts_with("router_weights."))
      field = field.substr(0, field.find('.'));  // what follows is the layer
    return !kPromptFields.contains(field) && !kModelFields.contains(field);
  }

  // Half precision is bound by its logits alone, int8 inputs by nothing: the case states no bound
  // for them. A case with experts states its bound for its own routing, which a rounded input
  // leaves.
  bool binds(std::string_view field) const {
    const bool has_experts = golden_.expected().contains("router_min_gap");
    return mode_.activation == Activation::f32 ||
           (mode_.activation != Activation::int8 && !has_experts && field.ends_with("logits"));
  }

  // Values that this mode does not bind are stated beside the bound of bfloat16, not judged.
  void add_values(const std::string& field,
                  std::span<const float> got,
                  std::span<const float> expected) {
    Finding finding = compare_values(field, got, expected, bound_);
    if (!binds(field)) finding.verdict = Verdict::not_judged;
    report_.add(std::move(finding));
  }

  void judge_integers(const std::string& field, const std::vector<int64_t>& got) {
    if (!golden_.has(field)) return;
    const std::vector<int64_t> wanted = golden_.integers(field);
    int64_t different = 0;
    size_t first = wanted.size();
    for (size_t i = 0; i < std::max(got.size(), wanted.size()); ++i) {
      if (i < got.size() && i < wanted.size() && got[i] == wanted[i]) continue;
      if (different++ == 0) first = i;
    }
    report_.add_exact(
        field,
        static_cast<int64_t>(wanted.size()),
        different,
        first < std::min(got.size(), wanted.size())
            ? format("value {}: expected {}, got {}", first, wanted[first], got[first])
            : format("{} values, expected {}", got.size(), wanted.size()));
  }

  void judge_prompt(const Json& prompt) {
    const std::string name = prompt.at("name").get<std::string>();
    const bool wants_numbers = wants_any_of(name, kModelFields);
    if (!wants_numbers && !wants_any_of(name, kPromptFields)) return;
    if (prompt.contains("messages"))
      judge_field(report_, name + ".text", [&] { judge_text(name, prompt); });
    try {
      const Prompt made = case_.prompt_from_files(prompt);
      judge_ids(name, made);
      judge_media(name, made);
      judge_features(golden_, prompt, made, report_);
      if (wants_numbers && has_model_) judge_numbers(name, prompt, made);
    } catch (const Error& error) {
      report_.add_obstacle(name, error);
    }
  }

  void judge_text(const std::string& name, const Json& prompt) {
    const Json kwargs = golden_.expected().value("template_kwargs", Json::object());
    const std::string text =
        case_.prompts().render(prompt.at("messages"), {.template_kwargs = &kwargs});
    const std::string wanted = prompt.at("text").get<std::string>();
    report_.add_exact(name + ".text",
                      1,
                      text != wanted,
                      format("expected {}, got {}", Json(wanted).dump(), Json(text).dump()));
  }

  void judge_ids(const std::string& name, const Prompt& made) {
    const std::vector<int64_t> ids(made.ids.begin(), made.ids.end()),
        positions(made.positions.begin(), made.positions.end());
    std::vector<int64_t> types(ids.size(), 0);
    for (const MediaSpan& span : made.media)
      std::fill_n(
          types.begin() + span.first_token, span.count, static_cast<int64_t>(span.media->kind) + 1);
    judge_integers(name + ".input_ids", ids);
    judge_integers(name + ".attention_mask", std::vector<int64_t>(ids.size(), 1));
    judge_integers(name + ".mm_token_type_ids", types);
    judge_integers(name + ".position_ids", positions);
    judge_integers(name + ".rope_delta", {made.rope_delta});
  }

  // Grids and pixels of one kind, all media in one tensor.
  void judge_media(const std::string& name, const Prompt& made) {
    for (const MediaKind kind : {MediaKind::image, MediaKind::video}) {
      std::vector<int64_t> grids;
      std::vector<float> pixels;
      for (const MediaSpan& span : made.media) {
        if (span.media->kind != kind) continue;
        if (span.media->part == 0)
          grids.insert(
              grids.end(),
              {span.media->grid_t * span.media->parts, span.media->grid_h, span.media->grid_w});
        pixels.insert(pixels.end(), span.media->values.begin(), span.media->values.end());
      }
      if (grids.empty()) continue;
      const bool is_image = kind == MediaKind::image;
      judge_integers(name + (is_image ? ".image_grid_thw" : ".video_grid_thw"), grids);
      const std::string field = name + (is_image ? ".pixel_values" : ".pixel_values_videos");
      // This build claims the torchvision rule exactly.
      if (golden_.has(field))
        report_.add(compare_exactly(field, pixels, golden_.floats(field).span<float>()));
      if (golden_.has(name + ".pixel_values_pil"))
        judge_pil_pixels(name + ".pixel_values_pil", pixels);
    }
  }

  // The other reference resizes a little otherwise: at most two grey levels anywhere, at most 2 %
  // of values.
  void judge_pil_pixels(const std::string& field, const std::vector<float>& pixels) {
    constexpr float kTwoLevels = 2.0f / 255 / 0.26f * 1.01f;
    const Tensor wanted = golden_.floats(field);
    Finding finding = compare_values(field, pixels, wanted.span<float>(), {.atol = kTwoLevels});
    const auto values = wanted.span<float>();
    int64_t different = 0;
    for (size_t i = 0; i < std::min(pixels.size(), values.size()); ++i)
      different += std::abs(pixels[i] - values[i]) > 1e-4f;
    if (50 * different > static_cast<int64_t>(values.size())) finding.verdict = Verdict::differs;
    finding.note = format("{:.2f} % of values differ",
                          100.0 * static_cast<double>(different) /
                              static_cast<double>(std::max<size_t>(values.size(), 1)));
    report_.add(std::move(finding));
  }

  // From the stored pixels, where they are stored, and once more from the files.
  void judge_numbers(const std::string& name, const Json& prompt, const Prompt& made) {
    const auto stored = case_.stored_media(name, made);
    const std::vector<MediaSpan>& media = stored ? *stored : made.media;
    const std::vector<Encoded> encoded = case_.encode(media);
    judge_tower(name, encoded);
    judge_decoder(name, made, media, encoded);
    judge_field(
        report_, name + ".greedy_ids", [&] { judge_greedy(name, prompt, made, media, encoded); });
    if (!stored || media.empty() || mode_.activation != Activation::f32) return;
    const Json half = golden_.expected().at("tolerance").value("bfloat16", Json::object());
    if (!half.contains("atol") || !report_.wants(name + ".logits")) return;
    const Decoded again =
        case_.decode(made, made.media, case_.encode(made.media), positions_of(name));
    report_.add(compare_values(name + ".logits.from_files",
                               again.logits,
                               golden_.floats(name + ".logits").span<float>(),
                               {.atol = half.at("atol").get<double>() / 20}));
  }

  void judge_tower(const std::string& name, const std::vector<Encoded>& encoded) {
    judge_encoder(name, encoded);
    for (const MediaKind kind : {MediaKind::image, MediaKind::video}) {
      const std::string prefix = name + (kind == MediaKind::image ? ".image_" : ".video_");
      std::vector<float> hidden, embeds;
      for (const Encoded& one : encoded) {
        if (one.kind != kind) continue;
        if (one.last_hidden.defined())
          hidden.insert(hidden.end(),
                        one.last_hidden.span<float>().begin(),
                        one.last_hidden.span<float>().end());
        embeds.insert(
            embeds.end(), one.embeds.span<float>().begin(), one.embeds.span<float>().end());
      }
      if (golden_.has(prefix + "encoder_last_hidden"))
        add_values(prefix + "encoder_last_hidden",
                   hidden,
                   golden_.floats(prefix + "encoder_last_hidden").span<float>());
      if (golden_.has(prefix + "embeds"))
        add_values(prefix + "embeds", embeds, golden_.floats(prefix + "embeds").span<float>());
    }
  }

  // Of each window of a recording the first frames are stored.
  void judge_encoder(const std::string& name, const std::vector<Encoded>& encoded) {
    const std::string field = name + ".audio_encoder_last_hidden";
    const Tensor wanted = golden_.has(field) ? golden_.floats(field) : Tensor();
    std::vector<float> hidden, embeds;
    for (const Encoded& one : encoded) {
      if (one.kind != MediaKind::audio) continue;
      const auto rows = one.embeds.span<float>();
      embeds.insert(embeds.end(), rows.begin(), rows.end());
      if (!wanted.defined() || !one.last_hidden.defined()) continue;
      const int64_t frames = std::min(wanted.dim(1), one.last_hidden.dim(0));
      const auto first = one.last_hidden.slice(0, 0, frames).span<float>();
      hidden.insert(hidden.end(), first.begin(), first.end());
    }
    if (!hidden.empty()) add_values(field, hidden, first_windows(wanted, hidden.size()));
    if (golden_.has(name + ".audio_embeds"))
      add_values(
          name + ".audio_embeds", embeds, golden_.floats(name + ".audio_embeds").span<float>());
  }

  std::vector<int32_t> positions_of(const std::string& name) const {
    std::vector<int32_t> out;
    for (const int64_t p : golden_.integers(name + ".logit_positions"))
      out.push_back(static_cast<int32_t>(p));
    return out;
  }

  void judge_decoder(const std::string& name,
                     const Prompt& made,
                     const std::vector<MediaSpan>& media,
                     const std::vector<Encoded>& encoded) {
    if (!report_.wants(name + ".logits") && !report_.wants(name + ".hidden_last_pos")) return;
    const Decoded decoded = case_.decode(made, media, encoded, positions_of(name));
    std::vector<float> hidden;
    for (const auto& layer : decoded.hidden_last)
      hidden.insert(hidden.end(), layer.begin(), layer.end());
    if (golden_.has(name + ".hidden_last_pos"))
      add_values(name + ".hidden_last_pos",
                 hidden,
                 golden_.floats(name + ".hidden_last_pos").span<float>());
    add_values(name + ".logits", decoded.logits, golden_.floats(name + ".logits").span<float>());
    for (const auto& [layer, ids] : decoded.router_ids)
      judge_routing(name, layer, ids, decoded.router_weights.at(layer));
  }

  // Chosen experts of a layer [T, k], and their weights where the choice is the same. Scores closer
  // than the bound may change places.
  void judge_routing(const std::string& name,
                     int layer,
                     const std::vector<float>& ids,
                     const std::vector<float>& weights) {
    const std::string ids_field = format("{}.router_ids.{}", name, layer),
                      weights_field = format("{}.router_weights.{}", name, layer);
    if (!golden_.has(ids_field)) return;
    const Tensor wanted = golden_.floats(ids_field);
    const auto k = static_cast<size_t>(wanted.dim(1));
    const auto expected = wanted.span<float>();
    int64_t different = ids.size() == expected.size() ? 0 : wanted.dim(0);
    for (size_t at = 0; different == 0 && at < ids.size(); at += k)
      different += !std::equal(ids.begin() + static_cast<std::ptrdiff_t>(at),
                               ids.begin() + static_cast<std::ptrdiff_t>(at + k),
                               expected.begin() + static_cast<std::ptrdiff_t>(at));
    const bool is_bound = mode_.activation == Activation::f32 &&
                          golden_.expected().value("router_min_gap", 0.0) > bound_.atol;
    if (different == 0 || is_bound)
      report_.add_exact(ids_field, wanted.dim(0), different, "a token goes to other experts");
    else
      report_.add({.field = ids_field,
                   .note = "a token goes to other experts; the case's smallest gap between scores "
                           "is below the bound"});
    if (different == 0 && golden_.has(weights_field))
      add_values(weights_field, weights, golden_.floats(weights_field).span<float>());
  }

  // What the stored continuation follows. The reference's generate(), given no attention mask, took
  // tokens with its padding id 0 for padding; such a case shows it by logits behind the prompt that
  // are not those its continuation begins with.
  Prompt prompt_of_continuation(const std::string& name, const Prompt& made) const {
    const bool may_have_padding = made.media.empty() && !golden_.has(name + ".attention_mask") &&
                                  golden_.has(name + ".greedy_top_logits") &&
                                  std::count(made.ids.begin(), made.ids.end(), 0) > 0;
    if (!may_have_padding) return made;
    const Tensor logits = golden_.floats(name + ".logits"),
                 first = golden_.floats(name + ".greedy_top_logits");
    const auto best = static_cast<size_t>(golden_.integers(name + ".greedy_top_ids").at(0));
    const float behind = logits.select(0, logits.dim(0) - 1).span<float>()[best],
                begins = first.span<float>()[0];
    const bool is_last = golden_.integers(name + ".logit_positions").back() + 1 ==
                         static_cast<int64_t>(made.ids.size());
    if (!is_last || std::abs(behind - begins) <= bound_.atol + bound_.rtol * std::abs(begins))
      return made;
    Prompt out = made;
    std::erase(out.ids, 0);
    out.axes = 1;
    out.positions.resize(out.ids.size());
    std::iota(out.positions.begin(), out.positions.end(), 0);
    out.rope_delta = 0;
    return out;
  }

  // Plain arg-max; compared up to the first step whose margin is below twice the bound on logits.
  void judge_greedy(const std::string& name,
                    const Json& prompt,
                    const Prompt& made,
                    const std::vector<MediaSpan>& media,
                    const std::vector<Encoded>& encoded) {
    if (mode_.activation == Activation::int8) {
      report_.add(
          {.field = name + ".greedy_ids", .note = "int8 inputs: no bound to judge them by"});
      return;
    }
    const auto ids = prompt.at("greedy_ids").get<std::vector<int64_t>>();
    const auto margins = prompt.at("greedy_margins").get<std::vector<double>>();
    const bool has_top = golden_.has(name + ".greedy_top_ids");
    const auto top_ids =
        has_top ? golden_.integers(name + ".greedy_top_ids") : std::vector<int64_t>();
    const Tensor top = has_top ? golden_.floats(name + ".greedy_top_logits") : Tensor();
    const size_t best = has_top ? static_cast<size_t>(top.dim(1)) : 0;
    const double least_margin = (mode_.activation == Activation::f32 ? 2 : 1) * bound_.atol;
    std::vector<float> got_top;
    size_t step = 0;
    int64_t different = 0;
    std::string first;
    const Prompt continued = prompt_of_continuation(name, made);
    case_.continue_greedily(
        continued, media, encoded, static_cast<int>(ids.size()), [&](std::span<const float> row) {
          for (size_t i = 0; i < best; ++i)
            got_top.push_back(row[static_cast<size_t>(top_ids[step * best + i])]);
          const auto token = std::max_element(row.begin(), row.end()) - row.begin();
          const bool is_bound = step < margins.size() && margins[step] >= least_margin;
          if (is_bound && token != ids[step])
            different = 1, first = format("step {}: expected {}, got {}", step, ids[step], token);
          if (is_bound) ++step;
          return is_bound && different == 0;
        });
    report_.add_exact(name + ".greedy_ids", static_cast<int64_t>(step), different, first);
    if (continued.ids.size() != made.ids.size())
      report_.add({.field = name + ".greedy_ids",
                   .note = "the stored continuation leaves out tokens with id 0 (the reference "
                           "took them for padding); followed"});
    if (has_top && different == 0)
      add_values(
          name + ".greedy_top_logits", got_top, top.span<float>().subspan(0, got_top.size()));
  }

  // "dequant.model.layers.0.mlp.down_proj.weight[:48]": the first 48 rows.
  void judge_weight(const std::string& field) {
    std::string path = field.substr(std::string_view("dequant.").size());
    path = path.substr(0, path.rfind(".weight"));
    const Tensor wanted = golden_.floats(field);
    const Shape shape = format_of(case_.checkpoint(), path).shape(case_.checkpoint(), path);
    if (wanted.rank() != 2 || wanted.dim(0) > shape[0] || wanted.dim(1) != shape[1])
      fail(ErrorCode::data_loss,
           "{}: {}, the weight is {}",
           field,
           wanted.shape().text(),
           shape.text());
    const QuantMatrix made = read_matrix(case_.checkpoint(), path);
    report_.add(compare_exactly(
        field, dequantize_rows(made, 0, wanted.dim(0)).span<float>(), wanted.span<float>()));
  }

  const GoldenCase& golden_;
  const VerifyMode& mode_;
  Report& report_;
  ModelCase case_;
  bool has_model_ = false;  // else said once, as the field "model"
  Bound bound_;
};

}  // namespace

void judge_model(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  ModelJudge(golden, mode, report).run();
}

}  // namespace quern
