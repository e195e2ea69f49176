// SPDX-License-Identifier: Apache-2.0
// The tokenizer keys of a GGUF file as plain values. Whoever reads the container fills it;
// Tokenizer::from_gguf_vocabulary makes a tokenizer of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace quern {

struct GgufVocabulary {
  std::string model;  // tokenizer.ggml.model: "gpt2" (byte-level BPE); others are unsupported
  std::string pre;    // tokenizer.ggml.pre: how text is cut into words; empty counts as "default"
  std::vector<std::string>
      tokens;  // tokenizer.ggml.tokens, by id, in the printable alphabet of bytes ("Ġthe")
  std::vector<int32_t>
      token_types;  // tokenizer.ggml.token_type, one for each token; empty: all are normal
  std::vector<std::string> merges;       // tokenizer.ggml.merges, "left right", best first
  int32_t bos = -1, eos = -1, pad = -1;  // tokenizer.ggml.{bos,eos,padding}_token_id; -1 if absent
  std::optional<bool> add_bos,
      add_eos;  // tokenizer.ggml.add_{bos,eos}_token; absent: what `pre` usually does
};

// The tokenizer.json of the tokenizers library that gives the same ids. Throws as
// Tokenizer::from_gguf_vocabulary does.
std::string tokenizer_json_of(const GgufVocabulary& vocabulary);

}  // namespace quern
