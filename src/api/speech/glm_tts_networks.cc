// SPDX-License-Identifier: Apache-2.0
#include "api/speech/glm_tts_networks.h"

#include <initializer_list>

#include "base/error.h"
#include "base/file.h"
#include "media/audio/kaldi_fbank.h"
#include "prompt/mel_files.h"
#include "weights/onnx_file.h"
#include "weights/torch_file.h"

namespace quern {
namespace {

constexpr size_t kMostConfigBytes = size_t{1} << 20;

// `hint` says where a missing one may be had.
std::string first_of(const std::string& folder,
                     std::initializer_list<const char*> names,
                     std::string_view hint = "") {
  for (const char* name : names)
    if (std::string path = folder + "/" + name; file_exists(path)) return path;
  fail(ErrorCode::not_found, "{}: expected one of {}{}", folder, fmt::join(names, ", "), hint);
}

Builder open_part(const std::string& path, const Ctx& ctx) {
  std::shared_ptr<const Checkpoint> file =
      path.ends_with(".pt") ? open_torch_file(path) : open_checkpoint(path);
  return {std::move(file), ctx};
}

FlowModel open_flow(const std::string& folder, const Ctx& ctx) {
  const std::string config = folder + "/flow/config.yaml";
  return FlowModel(open_part(first_of(folder, {"flow/flow.safetensors", "flow/flow.pt"}), ctx),
                   FlowConfig::from_yaml(read_file(config, kMostConfigBytes), config));
}

CampplusWeights read_campplus(const std::string& folder) {
  const std::string path = first_of(folder,
                                    {"frontend/campplus.safetensors",
                                     "frontend/campplus.onnx",
                                     "campplus.safetensors",
                                     "campplus.onnx"},
                                    " (campplus.onnx is in the model's GitHub repository, not in "
                                    "its Hugging Face folder)");
  if (!path.ends_with(".onnx")) return campplus_from_names(*open_checkpoint(path));
  const OnnxFile file(path);
  return campplus_from_graph(file, file.nodes());
}

}  // namespace

SpeechTokenizer open_speech_tokenizer(const std::string& folder, const Ctx& ctx) {
  const std::string path = folder + "/speech_tokenizer";
  std::shared_ptr<const Checkpoint> file = open_checkpoint(path);
  const Config features = Config::read(path + "/preprocessor_config.json");
  const MelShape shape = read_mel_shape(features, file->config().integer("num_mel_bins", 1, 4096), 2);
  return SpeechTokenizer(Builder(std::move(file), ctx), shape);
}

SpeakingNetworks::SpeakingNetworks(const std::string& folder, const Ctx& ctx)
    : flow(open_flow(folder, ctx)),
      vocoder(open_part(first_of(folder, {"hift/hift.safetensors", "hift/hift.pt"}), ctx)) {
  if (flow.sizes().bands != vocoder.bands())
    fail(ErrorCode::data_loss,
         "{}: the flow makes {} mel bands, the vocoder takes {}",
         folder,
         flow.sizes().bands,
         vocoder.bands());
}

ListeningNetworks::ListeningNetworks(const std::string& folder, const Ctx& ctx)
    : tokenizer(open_speech_tokenizer(folder, ctx)), speaker(ctx, read_campplus(folder)), mel({}) {}

VoicePrint ListeningNetworks::operator()(Ctx& ctx, const ReferenceSound& recording) const {
  return {.tokens = tokenizer(ctx, recording.tokenized),
          .mel = mel(recording.played),
          .speaker = speaker(ctx, mean_free_fbank(recording.spoken))};
}

}  // namespace quern
