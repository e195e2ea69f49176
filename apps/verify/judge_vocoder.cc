// SPDX-License-Identifier: Apache-2.0
// Speech cases of GLM-TTS's vocoder: pitch, source and wave of mel frames, and every layer between.
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "models/glm_tts/vocoder.h"
#include "nn/owned_ctx.h"
#include "verify/field_bound.h"
#include "verify/judges.h"

namespace quern {
namespace {

// What a field is called by the vocoder.
struct LayerName {
  std::string name;
  int layer;
};

// "res7" -> res, 7; "conv_pre" -> conv_pre, 0.
LayerName layer_of(const std::string& part) {
  const size_t digits = part.find_last_not_of("0123456789") + 1;
  if (digits == part.size() || part.size() - digits > 4) return {part, 0};
  return {part.substr(0, digits), std::stoi(part.substr(digits))};
}

// Layers as they are stored: [channels, frames].
class LayerRecorder : public Probe {
 public:
  void record(std::string_view name, int layer, const Tensor& value) override {
    std::vector<float>& out = values_[{std::string(name), layer}];
    out.clear();
    for (int64_t c = 0; c < value.dim(1); ++c)
      for (int64_t t = 0; t < value.dim(0); ++t)
        out.push_back(value.data<float>()[t * value.stride(0) + c]);
  }
  const std::vector<float>* find(const LayerName& layer) const {
    const auto found = values_.find({layer.name, layer.layer});
    return found == values_.end() ? nullptr : &found->second;
  }

 private:
  std::map<std::pair<std::string, int>, std::vector<float>> values_;
};

class VocoderJudge {
 public:
  VocoderJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden),
        report_(report),
        owned_({.threads = mode.threads, .isa = mode.isa, .activation = mode.activation}),
        vocoder_(Builder(open_checkpoint(golden.file("hift/hift.safetensors")), owned_.ctx())) {}

  void run() {
    for (const Json& run : golden_.expected().at("runs")) {
      const std::string name = run.at("name").get<std::string>();
      judge_field(report_, name + ".wav", [&] {
        if (golden_.has(name + ".mel"))
          judge_made(name, run);
        else
          judge_given(name, run);
      });
    }
    for (const std::string& name : golden_.names())
      if (!known_.contains(name)) report_.add({.field = name, .note = "unknown field"});
  }

 private:
  Ctx& ctx() { return owned_.ctx(); }

  // The vocoder computes in float32 in every mode.
  void judge(const std::string& field, std::span<const float> got) {
    if (!golden_.has(field)) return;
    known_.insert(field);
    judge_field(report_, field, [&] {
      report_.add(compare_field(golden_, field, got, Activation::f32));
    });
  }
  void count(const std::string& name, const Json& run, size_t samples) {
    if (run.contains("samples"))
      report_.add_exact(name + ".samples", 1, run.at("samples") != samples, std::to_string(samples));
  }

  // Pitch, source and wave from mel frames alone, then layers and wave from the stored source. The
  // reference sums its phases in float32, so a wave from mel frames alone may be far from the
  // stored one: it is judged where the case states a bound for it.
  void judge_made(const std::string& name, const Json& run) {
    const Tensor mel = golden_.floats(name + ".mel");
    known_.insert(name + ".mel");
    Tensor noise;
    if (golden_.has(name + ".noise")) {
      noise = golden_.floats(name + ".noise");
      known_.insert(name + ".noise");
    }
    LayerRecorder recorder;
    const std::vector<float> pitch = vocoder_.pitch(ctx(), mel, &recorder);
    const std::vector<float> source = vocoder_.source(
        ctx(), pitch, {.noise = noise.defined() ? noise.span<float>() : std::span<float>()});
    judge(name + ".f0", pitch);
    judge(name + ".source", source);
    const std::vector<float> wave = vocoder_.decode(ctx(), mel, source);
    count(name, run, wave.size());
    const std::string stem = name + ".", wav = name + ".wav";
    if (has_own_bound(golden_, wav)) {
      judge(wav, wave);
    } else if (golden_.has(wav)) {
      Finding far = compare_field(golden_, wav, wave, Activation::f32);
      report_.add({.field = wav + " from mel frames",
                   .note = format("off by {:.3g}: the case states no bound for it", far.error)});
    }
    const Tensor stored =
        golden_.has(name + ".source") ? golden_.floats(name + ".source") : Tensor();
    const auto from_stored = vocoder_.decode(
        ctx(), mel, stored.defined() ? stored.span<float>() : std::span(source), &recorder);
    if (!has_own_bound(golden_, wav)) judge(wav, from_stored);
    for (const std::string& field : golden_.names()) {
      if (known_.contains(field) || !field.starts_with(stem)) continue;
      if (const auto* layer = recorder.find(layer_of(field.substr(stem.size()))))
        judge(field, *layer);
    }
  }

  // From a given source: its frames are those of the run that has so many.
  void judge_given(const std::string& name, const Json& run) {
    const Tensor source = golden_.floats(name + ".source");
    known_.insert(name + ".source");
    const int64_t frames = source.numel() / HiftVocoder::kSamplesPerFrame;
    for (const std::string& field : golden_.names()) {
      if (!field.ends_with(".mel") || golden_.tensor(field).dim(0) != frames) continue;
      const std::vector<float> wave =
          vocoder_.decode(ctx(), golden_.floats(field), source.span<float>());
      judge(name + ".wav", wave);
      return count(name, run, wave.size());
    }
    fail(ErrorCode::data_loss, "{}: no run has the {} mel frames of its source", name, frames);
  }

  const GoldenCase& golden_;
  Report& report_;
  OwnedCtx owned_;
  HiftVocoder vocoder_;
  std::set<std::string> known_;
};

}  // namespace

void judge_vocoder(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  VocoderJudge(golden, mode, report).run();
}

}  // namespace quern
