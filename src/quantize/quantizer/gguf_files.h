// SPDX-License-Identifier: Apache-2.0
// The files beside the weights that other engines need and a GGUF file holds as metadata.
#pragma once

#include <map>
#include <string>

namespace quern {

// tokenizer.json, tokenizer_config.json (the chat template and the names of special tokens) and
// generation_config.json, as far as the file has them, by name. A vocabulary that is not byte-level
// BPE is left out with a warning: such a checkpoint needs the tokenizer files of its origin.
std::map<std::string, std::string> files_of_gguf(const std::string& path);

}  // namespace quern
