// SPDX-License-Identifier: Apache-2.0
// The bodies of answers that are no generated text.
#pragma once

#include <string>

#include "api/service.h"

namespace quern {

std::string models_response(const ServiceInfo& info);
std::string model_response(const ServiceInfo& info, const std::string& name);
// `strings_of` adds the tokens' names ("token_strs"); null: without.
std::string tokenize_response(const TokenIds& ids,
                              int64_t max_model_len,
                              const Tokenizer* strings_of);
std::string detokenize_response(const std::string& text);
std::string version_response(const std::string& version);

}  // namespace quern
