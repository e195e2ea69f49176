// SPDX-License-Identifier: Apache-2.0
// The bodies of answers that are no generated text.
#pragma once

#include <string>

#include "api/service.h"

namespace quern {

// What is served under which names, what it reads ("input_modalities") and does ("tasks": generate,
// transcription, speech, embed, classify).
std::string models_response(const Service& service);
std::string model_response(const Service& service, const std::string& name);
// `strings_of` adds the tokens' names ("token_strs"); null: without.
std::string tokenize_response(const TokenIds& ids,
                              int64_t max_model_len,
                              const Tokenizer* strings_of);
std::string detokenize_response(const std::string& text);
std::string version_response(const std::string& version);

}  // namespace quern
