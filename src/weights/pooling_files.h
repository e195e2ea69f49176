// SPDX-License-Identifier: Apache-2.0
// What a model folder in the layout of sentence-transformers states of how its hidden states become
// embeddings: modules.json, and the files of the modules that it lists.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace quern {

struct StatedPooling {
  std::string type;         // LAST, MEAN or CLS: the words of vLLM's --pooler-config
  bool normalizes = false;  // there is a Normalize module
  int64_t size = 0;         // word_embedding_dimension; 0: not stated
  int64_t max_tokens = 0;   // max_seq_length; 0: not stated
};

// nullopt where the folder has no modules.json, or one that lists no Pooling module. Throws
// data_loss for files that contradict themselves, unsupported naming a module, a mode or a setting
// that is not done here: nothing is left out of the way to a vector.
std::optional<StatedPooling> read_stated_pooling(const std::string& folder);

}  // namespace quern
