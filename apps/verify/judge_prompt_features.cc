// SPDX-License-Identifier: Apache-2.0
// Speech cases of a voice's recording: resampling, mel frames, filter bank, and speech tokens. The
// texts and phonemes of the same folders have a judge of their own.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/kaldi_fbank.h"
#include "media/audio/magnitude_mel.h"
#include "media/audio/reference_sound.h"
#include "media/audio/sinc_resampler.h"
#include "models/glm_tts/speech_tokenizer.h"
#include "nn/owned_ctx.h"
#include "prompt/mel_files.h"
#include "verify/field_bound.h"
#include "verify/judges.h"
#include "weights/with_config.h"

namespace quern {
namespace {

constexpr MagnitudeMelShape kMel32k{.rate_hz = 32'000, .fft = 2560, .hop = 640};

// The number behind `words`; 0 if they are not there.
int64_t number_behind(std::string_view text, std::string_view words) {
  const size_t at = text.find(words);
  int64_t out = 0;
  if (at != std::string_view::npos)
    std::from_chars(text.data() + at + words.size(), text.data() + text.size(), out);
  return out;
}

// What a tokenizer shows of itself: values [rows, columns] by name and number.
class Shown final : public Probe {
 public:
  void record(std::string_view name, int layer, const Tensor& value) override {
    values_[std::string(name) + "." + std::to_string(layer)] = value.contiguous();
    if (name == "gaps") {
      const auto gaps = value.span<float>();
      gaps_.insert(gaps_.end(), gaps.begin(), gaps.end());
    }
    // The encoder goes on in the same memory.
    Tensor& kept = values_[std::string(name) + "." + std::to_string(layer)];
    kept = Tensor::from(kept.span<float>(), kept.shape());
  }
  const Tensor& at(const std::string& name, int64_t layer) const {
    const auto found = values_.find(name + "." + std::to_string(layer));
    if (found == values_.end())
      fail(ErrorCode::data_loss, "{} number {}: nothing is made that is called so", name, layer);
    return found->second;
  }
  const std::vector<float>& gaps() const { return gaps_; }

 private:
  std::map<std::string, Tensor> values_;
  std::vector<float> gaps_;
};

std::span<const float> first_rows(const Tensor& t, int64_t rows) {
  return t.slice(0, 0, std::min(rows, t.dim(0))).span<float>();
}

// Every 16th row, of as many as there are.
std::vector<float> each_16th_row(const Tensor& t) {
  std::vector<float> out;
  for (int64_t row = 0; row < t.dim(0); row += 16) {
    const auto values = t.slice(0, row, row + 1).span<float>();
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

// [bands, frames] of the first frames.
std::vector<float> turned(const Tensor& t, int64_t frames) {
  std::vector<float> out;
  for (int64_t b = 0; b < t.dim(1); ++b)
    for (int64_t f = 0; f < std::min(frames, t.dim(0)); ++f)
      out.push_back(t.data<float>()[f * t.dim(1) + b]);
  return out;
}

class PromptFeaturesJudge {
 public:
  PromptFeaturesJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden),
        mode_(mode),
        report_(report),
        ctx_({.threads = mode.threads, .isa = mode.isa}) {}

  void run() {
    const std::vector<std::string> names = golden_.names();
    for (const std::string& name : names)
      if (!name.starts_with("vq.")) judge_sound(name);
    for (const Json& run : golden_.expected().value("runs", Json::array())) try_run(run);
    for (const std::string& name : names)
      if (name.starts_with("vq.") && !is_of_run(name))
        report_.add({.field = name, .note = "unknown field"});
  }

 private:
  // Whether the case says how the field's input is made.
  bool is_of_run(const std::string& field) const {
    const Json runs = golden_.expected().value("runs", Json::array());
    return std::any_of(runs.begin(), runs.end(), [&](const Json& run) {
      return field.starts_with("vq." + run.at("name").get<std::string>() + ".");
    });
  }
  void compare(const std::string& field, std::span<const float> got) {
    report_.add(compare_field(golden_, field, got, Activation::f32));
  }
  std::string bytes_of(const std::string& name) const {
    return read_file(golden_.file("inputs/" + name + ".wav"));
  }
  ReferenceSound sound_of(const std::string& name, int64_t mel_rate_hz) const {
    InProcessDecoder decoder;
    const std::string bytes = bytes_of(name);
    return reference_sound(decoder, std::as_bytes(std::span(bytes)), mel_rate_hz);
  }

  // What keeps a run from being judged at all is said once.
  void try_run(const Json& run) {
    const std::string name = "vq." + run.at("name").get<std::string>();
    const std::vector<std::string> names = golden_.names();
    const bool is_wanted = std::ranges::any_of(names, [&](const std::string& field) {
      return field.starts_with(name + ".") && report_.wants(field);
    });
    try {
      if (is_wanted) judge_run(run);
    } catch (const Error& error) {
      report_.add_obstacle(name, error);
    }
  }

  // "mel.a", "mel.b_32k_mode", "fbank.a", "resample.24000_16000.in" and ".out".
  void judge_sound(const std::string& field) {
    const size_t dot = field.find('.');
    const std::string kind = field.substr(0, dot),
                      rest = field.substr(std::min(dot, field.size() - 1) + 1);
    judge_field(report_, field, [&] {
      if (kind == "mel")
        judge_mel(field, rest);
      else if (kind == "fbank")
        compare(field, mean_free_fbank(sound_of(rest, kFbankRate).spoken));
      else if (kind == "resample" && rest.ends_with(".out"))
        judge_resampler(field, rest.substr(0, rest.size() - 4));
      else if (kind != "resample" || !rest.ends_with(".in"))
        report_.add({.field = field, .note = "unknown field"});
    });
  }
  void judge_mel(const std::string& field, const std::string& name) {
    constexpr std::string_view kMode = "_32k_mode";
    const bool is_32k = name.ends_with(kMode);
    const MagnitudeMel mel(is_32k ? kMel32k : MagnitudeMelShape{});
    const std::string file = is_32k ? name.substr(0, name.size() - kMode.size()) : name;
    compare(field, mel(sound_of(file, mel.shape().rate_hz).played));
  }
  // "24000_16000"
  void judge_resampler(const std::string& field, const std::string& rates) {
    const int64_t from = number_behind(rates, ""), to = number_behind(rates, "_");
    if (from < kLeastFileRate || from > kMostFileRate || to < kLeastFileRate || to > kMostSoundRate)
      fail(ErrorCode::unsupported, "{}: from {} Hz to {}", field, from, to);
    const Tensor in = golden_.floats("resample." + rates + ".in");
    compare(field, sinc_resample(in.span<float>(), from, to));
  }

  // The published encoder, or the same weights with causal convolutions.
  const SpeechTokenizer& tokenizer(bool is_causal) {
    std::unique_ptr<SpeechTokenizer>& made = is_causal ? causal_ : plain_;
    if (made) return *made;
    const std::string folder = golden_.file("speech_tokenizer");
    std::shared_ptr<const Checkpoint> file = open_checkpoint(folder);
    if (is_causal) {
      Json root = file->config().json();
      root["encoder_causal_convolution"] = true;
      file = with_config(std::move(file), Config::parse(root.dump(), file->config().path()));
    }
    const MelShape mel = read_mel_shape(Config::read(folder + "/preprocessor_config.json"),
                                        file->config().integer("num_mel_bins", 1, 512),
                                        2);
    made = std::make_unique<SpeechTokenizer>(Builder(file, ctx_.ctx()), mel);
    return *made;
  }

  // "c.wav repeated, cut to `samples`", "1000 samples of c.wav from sample 8000".
  std::vector<float> input_of(const Json& run) {
    const std::string how = run.at("how").get<std::string>();
    const size_t end = how.find(".wav");
    if (end == std::string::npos)
      fail(ErrorCode::unsupported, "runs: {}: made of no .wav file", how);
    const size_t space = how.rfind(' ', end), begin = space == std::string::npos ? 0 : space + 1;
    const std::vector<float> file = sound_of(how.substr(begin, end - begin), kFbankRate).tokenized;
    const int64_t first = number_behind(how, "from sample "),
                  count = run.at("samples").get<int64_t>(),
                  length = static_cast<int64_t>(file.size());
    if (first < 0 || first >= length || count < 0 ||
        count > SpeechTokenizer::kMostSeconds * kFbankRate)
      fail(ErrorCode::data_loss, "runs: {}: {} samples of {}", how, count, length);
    std::vector<float> out;
    for (int64_t i = 0; i < count; ++i)
      out.push_back(file[static_cast<size_t>((first + i) % length)]);
    const bool is_whole = how.find("repeated") == std::string::npos && first == 0;
    if (is_whole && count != length)
      fail(ErrorCode::data_loss, "runs: {}: {} samples, the case states {}", how, length, count);
    return out;
  }

  void judge_run(const Json& run) {
    const std::string name = run.at("name").get<std::string>(), prefix = "vq." + name + ".";
    if (mode_.activation != Activation::f32) {
      report_.add({.field = prefix + "tokens",
                   .note = "speech tokens are judged with --activation f32 alone"});
      return;
    }
    const std::vector<float> samples = input_of(run);
    Shown shown;
    const std::vector<int32_t> tokens = tokenizer(false)(ctx_.ctx(), samples, &shown);
    judge_field(
        report_, prefix + "tokens", [&] { judge_tokens(prefix + "tokens", tokens, shown.gaps()); });
    const std::string causal = prefix + "tokens_if_causal_convolution";
    if (golden_.has(causal))
      judge_field(report_, causal, [&] {
        Shown other;
        const std::vector<int32_t> made = tokenizer(true)(ctx_.ctx(), samples, &other);
        judge_tokens(causal, made, other.gaps());
      });
    if (run.contains("feature_frames")) {
      const int64_t frames = shown.at("input_features", 0).dim(0);
      report_.add_exact(prefix + "feature_frames",
                        1,
                        run.at("feature_frames") != frames,
                        format("{} frames", frames));
    }
    for (const std::string& field : golden_.names())
      if (field.starts_with(prefix))
        judge_field(report_, field, [&] {
          judge_stage(field, field.substr(prefix.size()), samples, shown);
        });
  }

  // Equal where the case's gap is wide enough; where it stores none of these tokens, where this
  // build's is.
  void judge_tokens(const std::string& field,
                    const std::vector<int32_t>& got,
                    std::span<const float> own_gaps) {
    if (!golden_.has(field)) return;
    const std::vector<int64_t> expected = golden_.integers(field);
    const std::string stored = field.substr(0, field.rfind('.')) + ".gaps";
    const bool is_stored = field.ends_with(".tokens") && golden_.has(stored);
    const Tensor gaps = is_stored ? golden_.floats(stored) : Tensor();
    const auto gap = [&](size_t i) { return is_stored ? gaps.data<float>()[i] : own_gaps[i]; };
    if (got.size() != expected.size() ||
        (is_stored && gaps.numel() != static_cast<int64_t>(expected.size()))) {
      report_.add_exact(field, 1, 1, format("{} tokens, expected {}", got.size(), expected.size()));
      return;
    }
    const double least = least_gap(field);
    RowCounter counter;
    for (size_t i = 0; i < got.size(); ++i)
      if (gap(i) > least)
        counter.compare(got[i] == expected[i],
                        format("token {}: {}, expected {}", i, got[i], expected[i]));
    counter.report_to(report_, field);
  }
  double least_gap(const std::string& field) const {
    const Json fields = golden_.expected().value("field_tolerance", Json::object());
    for (const auto& [pattern, own] : fields.items())
      if (fits_pattern(field, pattern)) return own.value("exact_if_gap_above", -1.0);
    return -1;
  }

  void judge_stage(const std::string& field,
                   const std::string& part,
                   std::span<const float> samples,
                   const Shown& shown) {
    const Tensor expected = golden_.tensor(field);
    if (part.starts_with("tokens")) return;  // judged
    if (part == "audio_16k")
      compare(field, samples);
    else if (part == "gaps")
      compare(field, shown.gaps());
    else if (part == "input_features")
      compare(field, turned(shown.at(part, 0), expected.dim(1)));
    else if (part.starts_with("features_second_piece"))
      compare(field, turned(shown.at("input_features", 1), expected.dim(1)));
    else if (part == "conv2")
      compare_convolution(field, shown.at(part, 0));
    else if (part == "pooled")
      compare(field, first_rows(shown.at(part, 0), expected.dim(0)));
    else if (part.starts_with("layer"))
      compare(field, each_16th_row(shown.at("layer", number_behind(part, "layer"))));
    else
      report_.add({.field = field, .note = "unknown field"});
  }

  // Stored is [frames, channels] before the activation, which is not kept here: gelu of it.
  void compare_convolution(const std::string& field, const Tensor& rows) {
    const Tensor stored = golden_.floats(field);
    std::vector<float> expected;
    for (const float x : stored.span<float>())
      expected.push_back(static_cast<float>(0.5 * x * (1 + std::erf(x * std::sqrt(0.5)))));
    const std::optional<Bound> bound = field_bound(golden_, field, Activation::f32);
    report_.add(compare_values(
        field, first_rows(rows, stored.dim(0)), expected, bound.value_or(Bound{1e-3, 1e-3})));
  }

  const GoldenCase& golden_;
  const VerifyMode& mode_;
  Report& report_;
  OwnedCtx ctx_;
  std::unique_ptr<SpeechTokenizer> plain_, causal_;
};

}  // namespace

void judge_prompt_features(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  PromptFeaturesJudge(golden, mode, report).run();
}

}  // namespace quern
