// SPDX-License-Identifier: Apache-2.0
#include "model_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/error.h"
#include "command_line.h"

namespace quern {
namespace {

// Typed from habit. Each is accepted and changes nothing; the help says why.
struct Habit {
  const char* flag;
  const char* why;
  bool takes_value;
};

constexpr Habit kHabits[] = {
    {"--trust-remote-code", "accepted, changes nothing: no Python runs here", false},
    {"--enforce-eager", "accepted, changes nothing: there are no graphs to capture", false},
    {"--enable-chunked-prefill,!--no-enable-chunked-prefill",
     "accepted, changes nothing: prefill is always chunked",
     false},
    {"--swap-space", "accepted, changes nothing: preempted sequences are recomputed", true},
    {"--device", "accepted, changes nothing: this version runs on the CPU", true},
    {"--load-format", "accepted, changes nothing: the format is read from the files", true},
    {"--tokenizer-mode", "accepted, changes nothing: there is one tokenizer", true},
};

void add_habits(CLI::App& command) {
  for (const Habit& habit : kHabits) {
    CLI::Option* option = habit.takes_value ? command.add_option_function<std::string>(
                                                  habit.flag, [](const std::string&) {}, habit.why)
                                            : command.add_flag_function(
                                                  habit.flag, [](int64_t) {}, habit.why);
    option->group("Accepted from habit");
  }
}

void add_memory_options(CLI::App& command, ModelOptions& o) {
  constexpr const char* kGroup = "Memory";
  command
      .add_option(
          "--max-model-len",
          o.max_model_len,
          "tokens of prompt and answer: 4096, 8k, or auto (the model's own, as far as it fits)")
      ->group(kGroup)
      ->capture_default_str();
  command.add_option("--max-num-seqs", o.max_num_seqs, "sequences that run at one time")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command.add_option("--max-num-batched-tokens", o.max_num_batched_tokens, "tokens of one step")
      ->group(kGroup)
      ->capture_default_str();
  command.add_option("--block-size", o.block_size, "tokens of one KV block")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command
      .add_option("--kv-cache-dtype",
                  o.kv_cache_dtype,
                  "auto, float32, bfloat16, or in half the bytes int8 or fp8 (e4m3): a scale for "
                  "each token and head (docs/serving.md)")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option("--kv-cache-memory-bytes", o.kv_cache_memory_bytes, "bytes of the KV cache (8G)")
      ->group(kGroup);
  command
      .add_option("--num-gpu-blocks-override", o.num_blocks, "KV blocks, whatever the memory says")
      ->group(kGroup);
  command
      .add_option("--gpu-memory-utilization,--memory-utilization",
                  o.memory_utilization,
                  "share of this machine's memory that weights, activations and KV cache may take "
                  "together; there need be no GPU")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.01, 1.0));
  command
      .add_option("--expert-memory",
                  o.expert_memory,
                  "bytes of routed experts that each rank holds (12G); the others stay in the "
                  "checkpoint until tokens choose them, so a model may be larger than memory. all: "
                  "hold every one; auto: as many as fit")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_flag("--enable-prefix-caching,!--no-enable-prefix-caching",
                o.enable_prefix_caching,
                "keep KV blocks of past prompts (on)")
      ->group(kGroup);
}

}  // namespace

void add_model_options(CLI::App& command, ModelOptions& o) {
  command
      .add_option(
          "MODEL,-m,--model,--model-path",
          o.model,
          "folder, .gguf file, name in the Hugging Face cache, smollm2-135m or whisper-tiny.en")
      ->required();
  command
      .add_option(
          "--dtype", o.dtype, "activations in matrix products: auto, float32, bfloat16, float16")
      ->capture_default_str();
  command
      .add_option("--cpu-activation",
                  o.cpu_activation,
                  "what inputs are rounded to before they meet quantized weights: bf16, int8 (a "
                  "scale for each token and group of inputs), auto")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "bf16", "int8"}));
  command.add_flag(
      "--int8-head",
      o.int8_head,
      "round an output matrix (lm_head) of floats to int8 when it is loaded: a quantized "
      "model then reads up to a third less per token; the log says what it changed");
  command.add_flag("--packed-cache",
                   o.packed_cache,
                   "keep packed weights under $XDG_CACHE_HOME/quern (else ~/.cache/quern) and map "
                   "them in at the next start, which is then ready at once; they are written while "
                   "the first already answers");
  command.add_option("--packed-cache-bytes",
                     o.packed_cache_bytes,
                     "most bytes that the packed cache keeps of all models together (20G); beyond, "
                     "the least recently used is removed; default: 50G, or half of the free disk "
                     "if that is less");
  command.add_option("--quantization,-q",
                     o.quantization,
                     "checked against the checkpoint; the checkpoint decides");
  command.add_option(
      "--tensor-names",
      o.tensor_names,
      "a JSON file that says what the tensors of MODEL are and may change keys of its "
      "config (docs/models/spark.md); default: quern_names.json in its folder");
  command.add_option(
      "--chat-template", o.chat_template, "a Jinja file instead of the model's own template");
  command
      .add_option(
          "--threads", o.threads, "kernel threads of a rank; 0: one per physical core that it has")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  command.add_option(
      "--isa",
      o.isa,
      "highest instruction set to use: scalar, avx2, avx512, avx512_vnni, avx512_bf16, amx");
  command
      .add_option("--log-level,--uvicorn-log-level", o.log_level, "debug, info, warn, error, off")
      ->capture_default_str();
  command.add_option("--config",
                     "a TOML file (or .yaml: flat YAML) with flags as keys; flags and QUERN_* "
                     "variables win over it");
  add_memory_options(command, o);
  add_scheduling_options(command, o.scheduling);
  add_parallel_options(command, o);
  add_habits(command);
}

void add_grammar_options(CLI::App& command, GrammarLimits& limits) {
  constexpr const char* kGroup = "Structured output";
  command
      .add_option_function<int>(
          "--grammar-timeout",
          [&limits](int seconds) { limits.deadline = std::chrono::seconds(seconds); },
          "seconds that a request waits for its schema or grammar to be compiled")
      ->group(kGroup)
      ->default_str("10")
      ->check(CLI::Range(1, 3600));
  command
      .add_option_function<int>(
          "--grammar-cache-mb",
          [&limits](int megabytes) { limits.cache_bytes = static_cast<size_t>(megabytes) << 20; },
          "MiB of compiled schemas and grammars that are kept for later requests")
      ->group(kGroup)
      ->default_str("128")
      ->check(CLI::Range(0, 65536));
}

Isa chosen_isa(const ModelOptions& options, const Topology& machine) {
  return options.isa.empty() ? machine.isa : std::min(parse_isa(options.isa), machine.isa);
}

Activation chosen_activation(std::string_view name, Isa isa) {
  // bfloat16 where the CPU multiplies it. Elsewhere int8 for weights of whole numbers, whose error
  // is small (docs/formats.md) and whose products are several times faster; float32 for all others.
  if (name == "auto")
    return isa >= Isa::avx512_bf16 ? Activation::bf16
           : isa >= Isa::avx2      ? Activation::int8
                                   : Activation::f32;
  if (name == "int8") return Activation::int8;
  if (name == "float32" || name == "float" || name == "fp32" || name == "f32")
    return Activation::f32;
  if (name == "bfloat16" || name == "bf16") return Activation::bf16;
  if (name == "float16" || name == "half" || name == "fp16" || name == "f16")
    return Activation::f16;
  fail(ErrorCode::invalid_argument,
       "--dtype: expected auto, float32, bfloat16 or float16, got \"{}\"",
       name);
}

Activation chosen_activation(const ModelOptions& options, Isa isa) {
  if (options.dtype == "int8")
    fail(ErrorCode::invalid_argument, "--dtype int8: ask for it by --cpu-activation int8");
  const Activation floats = chosen_activation(options.dtype, isa);
  if (options.cpu_activation == "auto") return floats;
  const bool is_free = options.dtype == "auto" || floats == Activation::bf16;
  if (!is_free)
    fail(ErrorCode::invalid_argument,
         "--cpu-activation {} and --dtype {} ask for different things; leave one of them out",
         options.cpu_activation,
         options.dtype);
  return options.cpu_activation == "int8" ? Activation::int8 : Activation::bf16;
}

DType chosen_kv_dtype(const ModelOptions& options, Activation activation) {
  const std::string& name = options.kv_cache_dtype;
  if (name == "auto") return activation == Activation::f32 ? DType::f32 : DType::bf16;
  if (name == "float32" || name == "fp32" || name == "f32") return DType::f32;
  if (name == "bfloat16" || name == "bf16") return DType::bf16;
  if (name == "int8") return DType::i8;
  if (name == "fp8" || name == "fp8_e4m3") return DType::f8_e4m3;
  fail(ErrorCode::unsupported,
       "--kv-cache-dtype {}: this version keeps auto, float32, bfloat16, int8 or fp8 (e4m3)",
       name);
}

int chosen_batched_tokens(const ModelOptions& options) {
  return static_cast<int>(std::clamp<int64_t>(
      parse_count(options.max_num_batched_tokens, "--max-num-batched-tokens"), 1, 1 << 20));
}

bool has_auto_length(const ModelOptions& options) {
  return options.max_model_len == "auto" || options.max_model_len == "-1";
}

int64_t chosen_length(const ModelOptions& options, int64_t most, int64_t fallback) {
  const int64_t length =
      has_auto_length(options) ? fallback : parse_count(options.max_model_len, "--max-model-len");
  if (length < 1 || length > most)
    fail(ErrorCode::invalid_argument,
         "--max-model-len {}: this model was made for 1 to {} positions",
         length,
         most);
  return length;
}

}  // namespace quern
