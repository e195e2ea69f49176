// SPDX-License-Identifier: Apache-2.0
// A GGUF file as a checkpoint, and what else it carries: vocabulary, chat template, defaults of
// generation.
#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "text/tokenizer/gguf_vocabulary.h"
#include "weights/checkpoint.h"

namespace quern {

// Tensors get their published names and config() the keys of config.json; q and k of the Llama
// family get the row order that undoes the converter's. A model split over NAME-00001-of-0000N.gguf
// files is opened by its first part. Throws as open_checkpoint does.
std::unique_ptr<Checkpoint> open_gguf(const std::string& path);

// The tokenizer.ggml.* keys. Throws not_found if the file has no vocabulary.
GgufVocabulary read_gguf_vocabulary(const std::string& path);

// tokenizer.chat_template; empty if there is none.
std::string gguf_chat_template(const std::string& path);

// What generation_config.json would say: bos_token_id, pad_token_id, eos_token_id (always an
// array), and temperature, top_p, top_k, min_p, repetition_penalty where the file has them.
Json gguf_generation_config(const std::string& path);

}  // namespace quern
