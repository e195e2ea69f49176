// SPDX-License-Identifier: Apache-2.0
// The flags that all commands which load a model share, under vLLM's names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/topology.h"
#include "media_options.h"
#include "parallel_options.h"
#include "pooling_options.h"
#include "sampling/grammar/grammar_compiler.h"
#include "scheduling_options.h"
#include "tensor/ctx.h"

namespace CLI {
class App;
}

namespace quern {

struct ModelOptions : ParallelOptions {
  std::string model;           // folder, .gguf file, Hugging Face cache id or the embedded name
  std::string dtype = "auto";  // auto, float32, bfloat16, float16 (and short forms): activations
  // What inputs become before they meet weights of whole numbers: auto, bf16, int8. Where weights
  // are floats, `dtype` alone decides.
  std::string cpu_activation = "auto";
  bool int8_head = false;          // round the output matrix to int8 when it is loaded
  bool packed_cache = false;       // map packed weights in where they were kept, else keep them
  std::string packed_cache_bytes;  // of all models together; empty: see PackedStore
  std::string kv_cache_dtype = "auto";
  std::string isa;                     // caps the instruction sets; empty: the best there is
  std::string max_model_len = "auto";  // tokens of prompt and answer
  std::string max_num_batched_tokens = "2048";
  int max_num_seqs = 64;
  int block_size = 16;
  int threads = 0;                    // 0: one per physical core
  std::string kv_cache_memory_bytes;  // empty: what max_model_len and max_num_seqs ask for, within
                                      // the memory utilization
  int64_t num_blocks = 0;             // 0: from the memory
  double memory_utilization = 0.9;
  bool enable_prefix_caching = true;
  std::string expert_memory = "auto";  // bytes of a mixture's experts that are held, or all
  std::string
      tensor_names;  // a file (weights/renamed_checkpoint.h); empty: the model's own, if any
  std::string chat_template;  // a file
  std::string
      quantization;  // accepted where it is what the checkpoint is; empty: from the checkpoint
  MediaOptions media;
  SchedulingOptions scheduling;
  PoolingFlags pooling;
  GrammarLimits grammars;
  std::string log_level = "info";
};

// Adds MODEL (and --model) and the flags above to a command.
void add_model_options(CLI::App& command, ModelOptions& options);
// The constraints on answers that a server compiles.
void add_grammar_options(CLI::App& command, GrammarLimits& limits);

// The choices behind "auto". They throw invalid_argument or unsupported naming the flag.
Isa chosen_isa(const ModelOptions& options, const Topology& machine);
Activation chosen_activation(std::string_view dtype, Isa isa);
Activation chosen_activation(const ModelOptions& options, Isa isa);
DType chosen_kv_dtype(const ModelOptions& options, Activation activation);
// Tokens of one step.
int chosen_batched_tokens(const ModelOptions& options);
bool has_auto_length(const ModelOptions& options);
// Tokens of prompt and answer for a model of at most `most` positions: `fallback` where auto.
int64_t chosen_length(const ModelOptions& options, int64_t most, int64_t fallback);

}  // namespace quern
