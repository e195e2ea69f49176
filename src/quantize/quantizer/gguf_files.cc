// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/gguf_files.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "text/tokenizer/gguf_vocabulary.h"
#include "weights/gguf.h"

namespace quern {
namespace {

Json tokenizer_config(const GgufVocabulary& vocabulary, const std::string& chat_template) {
  Json out = {{"tokenizer_class", "PreTrainedTokenizerFast"},
              {"clean_up_tokenization_spaces", false}};
  const auto name = [&](const char* key, int32_t id) {
    if (id >= 0 && static_cast<size_t>(id) < vocabulary.tokens.size())
      out[key] = vocabulary.tokens[static_cast<size_t>(id)];
  };
  name("bos_token", vocabulary.bos);
  name("eos_token", vocabulary.eos);
  name("pad_token", vocabulary.pad);
  if (!chat_template.empty()) out["chat_template"] = chat_template;
  return out;
}

}  // namespace

std::map<std::string, std::string> files_of_gguf(const std::string& path) {
  std::map<std::string, std::string> out;
  const Json generation = gguf_generation_config(path);
  if (!generation.empty()) out["generation_config.json"] = generation.dump(2) + "\n";
  try {
    const GgufVocabulary vocabulary = read_gguf_vocabulary(path);
    out["tokenizer.json"] = tokenizer_json_of(vocabulary) + "\n";
    out["tokenizer_config.json"] =
        tokenizer_config(vocabulary, gguf_chat_template(path)).dump(2) + "\n";
  } catch (const Error& e) {
    log(LogLevel::warn,
        "{}: no tokenizer.json is written: {}; copy the tokenizer files of the model's origin",
        path,
        e.what());
  }
  return out;
}

}  // namespace quern
