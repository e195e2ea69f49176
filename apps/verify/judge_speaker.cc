// SPDX-License-Identifier: Apache-2.0
// Speech cases of the speaker encoder: filter bank of a recording, the encoder's stages, and the
// vector, from both files that the encoder is published in.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/kaldi_fbank.h"
#include "media/audio/reference_sound.h"
#include "models/glm_tts/campplus.h"
#include "nn/owned_ctx.h"
#include "verify/field_bound.h"
#include "verify/judges.h"
#include "weights/onnx_file.h"

namespace quern {
namespace {

// Stages by the names of the case: "head", "block1".
class Stages final : public Probe {
 public:
  void record(std::string_view name, int layer, const Tensor& value) override {
    const std::string number = layer > 0 ? std::to_string(layer) : "";
    values_[std::string(name) + number] = {value.dim(1), to_f32(value.contiguous())};
  }
  bool has(const std::string& name) const { return values_.contains(name); }
  // [channels, steps] of the first `steps` steps, as the reference lays them out.
  std::vector<float> turned(const std::string& name, int64_t steps) const {
    const auto& [channels, value] = values_.at(name);
    std::vector<float> out;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < std::min(steps, value.dim(0)); ++t)
        out.push_back(value.data<float>()[t * channels + c]);
    return out;
  }

 private:
  struct Stage {
    int64_t channels = 0;
    Tensor value;
  };
  std::map<std::string, Stage> values_;
};

class SpeakerJudge {
 public:
  SpeakerJudge(const GoldenCase& golden, const VerifyMode& mode, Report& report)
      : golden_(golden), report_(report), ctx_({.threads = mode.threads, .isa = mode.isa}) {}

  void run() {
    for (const Json& run : golden_.expected().at("runs"))
      judge_run(run.at("name").get<std::string>());
    for (const std::string& name : golden_.names())
      if (!known_.contains(name)) report_.add({.field = name, .note = "unknown field"});
  }

 private:
  void judge(const std::string& field, FunctionRef<void()> body) {
    known_.insert(field);
    if (golden_.has(field)) judge_field(report_, field, body);
  }
  void compare(const std::string& field, std::span<const float> got) {
    report_.add(compare_field(golden_, field, got, Activation::f32));
  }
  // The same value once more, by another way.
  void compare_too(const std::string& field, std::string_view way, std::span<const float> got) {
    Finding finding = compare_field(golden_, field, got, Activation::f32);
    finding.field += "." + std::string(way);
    report_.add(finding);
  }

  const SpeakerEncoder& from_names() {
    if (!from_names_)
      from_names_.emplace(
          ctx_.ctx(), campplus_from_names(*open_checkpoint(golden_.file("campplus.safetensors"))));
    return *from_names_;
  }
  const SpeakerEncoder& from_graph() {
    if (!from_graph_) {
      const OnnxFile file(golden_.file("campplus.onnx"));
      from_graph_.emplace(ctx_.ctx(), campplus_from_graph(file, file.nodes()));
    }
    return *from_graph_;
  }

  void judge_run(const std::string& name) {
    const std::string fbank = name + ".fbank", embedding = name + ".embedding";
    std::vector<float> made;
    judge(fbank, [&] {
      InProcessDecoder decoder;
      const std::string bytes = read_file(golden_.file("inputs/" + name + ".wav"));
      made = mean_free_fbank(
          reference_sound(decoder, std::as_bytes(std::span(bytes)), kFbankRate).spoken);
      compare(fbank, made);
    });
    const Tensor stored = golden_.floats(fbank);
    Stages stages;
    judge(embedding, [&] {
      compare(embedding, from_names()(ctx_.ctx(), stored.span<float>(), &stages));
      compare_too(embedding, "onnx", from_graph()(ctx_.ctx(), stored.span<float>()));
      if (!made.empty()) compare_too(embedding, "from_file", from_names()(ctx_.ctx(), made));
    });
    const std::string other = embedding + "_onnxruntime";
    judge(other, [&] { compare(other, from_graph()(ctx_.ctx(), stored.span<float>())); });
    for (const char* stage : {"head",
                              "tdnn",
                              "block1",
                              "block2",
                              "block3",
                              "transit1",
                              "transit2",
                              "transit3",
                              "out_nonlinear",
                              "stats"})
      judge_stage(name, stage, stored, stages);
  }

  void judge_stage(const std::string& name,
                   const std::string& stage,
                   const Tensor& fbank,
                   Stages& stages) {
    const std::string field = name + "." + stage;
    judge(field, [&] {
      if (!stages.has(stage)) from_names()(ctx_.ctx(), fbank.span<float>(), &stages);
      const Tensor expected = golden_.floats(field);
      compare(field, stages.turned(stage, expected.rank() == 2 ? expected.dim(1) : 1));
    });
  }

  const GoldenCase& golden_;
  Report& report_;
  OwnedCtx ctx_;
  std::optional<SpeakerEncoder> from_names_, from_graph_;
  std::set<std::string> known_;
};

}  // namespace

void judge_speaker(const GoldenCase& golden, const VerifyMode& mode, Report& report) {
  SpeakerJudge(golden, mode, report).run();
}

}  // namespace quern
