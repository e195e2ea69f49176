// SPDX-License-Identifier: Apache-2.0
// Where a MODEL argument leads on this machine. Nothing is ever downloaded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace quern {

// What the environment says; empty: not set. Rooms do not read it: whoever owns the process fills
// this.
struct ModelLookup {
  std::string hf_hub_cache;    // HF_HUB_CACHE
  std::string hf_home;         // HF_HOME
  std::string xdg_cache_home;  // XDG_CACHE_HOME
  std::string home;            // HOME
  // Where embedded models may lie, best first: <folder>/smollm2-135m/model.gguf,
  // <folder>/whisper-tiny.en/config.json.
  std::vector<std::string> embedded_folders;
};

struct ResolvedModel {
  std::string
      path;  // for open_checkpoint: a folder with config.json, a .gguf or a .safetensors file
  std::string name;  // what clients call the model: the argument, without its revision
  // Of a model that speaks: the folder around `path`, which holds its other networks beside the
  // language model. Empty: a model of one network.
  std::string speech_folder = {};

  // Where the tokenizer's files lie: beside the weights, but for a model that speaks.
  std::string tokenizer_path() const;
};

// A model that would have to be fetched first. The message names the folder looked in and the
// command that fetches it.
class ModelNotCached : public Error {
 public:
  explicit ModelNotCached(std::string message) : Error(ErrorCode::not_found, std::move(message)) {}
};

// `name` is, in this order: a folder or file; "smollm2-135m" or "whisper-tiny.en"; a Hugging Face
// id "ORG/NAME" with an optional "@REVISION" (a branch, a tag or a commit), looked up in
// HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub. A folder without config.json but with one model as GGUF leads to that
// file, one laid out as GLM-TTS to the language model in it. Throws ModelNotCached; not_found for unknown names and empty folders, naming near misses;
// invalid_argument where several GGUF models lie in one folder.
ResolvedModel resolve_model(std::string_view name, const ModelLookup& environment);

// The folder of the Hugging Face cache by the rule above; empty if nothing is set.
std::string hub_cache_folder(const ModelLookup& environment);

}  // namespace quern
