// SPDX-License-Identifier: Apache-2.0
// Whether a model generates text or is served for its vectors: vLLM's --runner, --convert and
// --pooler-config, and what the model's own files say.
#pragma once

#include <optional>
#include <string>

#include "nn/pooling.h"
#include "weights/checkpoint.h"

namespace CLI {
class App;
}

namespace quern {

struct PoolingFlags {
  std::string runner = "generate";  // auto, generate, pooling
  std::string convert = "auto";     // auto, none, embed, classify
  std::string pooler_config;        // JSON; empty: what the model's files say
};

// For commands that can serve both; `flags.runner` becomes "auto".
void add_pooling_options(CLI::App& command, PoolingFlags& flags);

struct ChosenPooling {
  Pooling pooling;         // its size is known once the model is made
  int64_t max_tokens = 0;  // of a prompt, where the files state it; 0: they do not
};

// nullopt: the model generates text. `path`: the folder or .gguf file; empty where there is a
// config alone. Throws invalid_argument naming the flag, and unsupported for a model whose vectors
// cannot be made exactly as it means them.
std::optional<ChosenPooling> choose_pooling(const PoolingFlags& flags,
                                            const std::string& path,
                                            const Checkpoint& checkpoint);

// In a line of the log: "embeddings of 896 values, pooling LAST, normalized".
std::string describe(const Pooling& pooling);

}  // namespace quern
