// SPDX-License-Identifier: Apache-2.0
#include "loaded_model.h"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "api/speech/glm_tts_speaker.h"
#include "api/tokenizer_info.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster.h"
#include "command_line.h"
#include "cpu_sets.h"
#include "engine/local_executor.h"
#include "media_decoder.h"
#include "model_source.h"
#include "models/registry.h"
#include "nn/thread_ranks.h"
#include "ray_launch.h"
#include "start_log.h"
#include "world_plan.h"

namespace quern {
namespace {

double gib(int64_t bytes) {
  return static_cast<double>(bytes) / (int64_t{1} << 30);
}

std::optional<std::string> template_text(const ModelOptions& options) {
  if (options.chat_template.empty()) return std::nullopt;
  return read_file(options.chat_template, size_t{4} << 20);
}

// Once the files are open.
void choose_use(Choice& choice, const OpenedModel& opened, const PoolingFlags& flags) {
  choice.pooling = choose_pooling(flags, opened.source.path, *opened.checkpoint);
  if (choice.pooling) choice.building.output = choice.pooling->pooling.output;
}

std::string_view name_of(Activation activation) {
  switch (activation) {
    case Activation::f32:
      return "float32";
    case Activation::bf16:
      return "bfloat16";
    case Activation::f16:
      return "float16";
    case Activation::int8:
      return "int8";
  }
  return "";
}

void open_files(OpenedModel& opened, const ModelOptions& options) {
  opened.source = find_model(options.model);
  opened.checkpoint = open_checkpoint(opened.source.path, options.tensor_names);
  opened.prompts = PromptBuilder::open(opened.source.tokenizer_path(),
                                       *opened.checkpoint,
                                       template_text(options),
                                       options.media.processor);
  const auto stated = opened.checkpoint->config().find("quantization_config");
  if (!options.quantization.empty() && !stated)
    log(LogLevel::warn,
        "--quantization {}: this checkpoint is not quantized by its config; the files decide",
        options.quantization);
}

// plan: what the scratch and the experts may take; null: all experts are held unless it was asked
// otherwise.
void load_weights(OpenedModel& opened,
                  const ModelOptions& options,
                  const Choice& choice,
                  const MemoryPlan* plan) {
  const MonotonicClock clock;
  const int64_t begin = clock.now_us();
  opened.ctx =
      std::make_unique<OwnedCtx>(OwnedCtx::Options{.threads = choice.threads,
                                                   .isa = choice.isa,
                                                   .activation = choice.activation,
                                                   .arena_bytes = plan ? plan->arena_bytes : 0});
  BuilderOptions building = choice.building;
  if (plan && !plan->experts.are_held()) building.expert_memory_bytes = plan->experts.held_bytes;
  if (options.packed_cache) {
    opened.cache = std::make_unique<PackedCache>(
        options, *opened.checkpoint, opened.source.path, opened.ctx->ctx(), building.output);
    building.packed = opened.cache->weights();
  }
  const Builder builder(opened.checkpoint, opened.ctx->ctx(), {}, building);
  opened.model = make_model(builder);
  malloc_trim(0);  // what unpacking left in the heap
  log(LogLevel::info,
      "loading weights took {:.2f} seconds and {:.2f} GiB",
      static_cast<double>(clock.now_us() - begin) * 1e-6,
      gib(opened.model->weight_bytes()));
  log(LogLevel::info, "matrix products: {}", builder.kernels());
  log_experts(builder);
  if (builder.head_error() > 0)
    log(LogLevel::info,
        "the head was rounded to int8: relative error {:.4f} (root mean square)",
        builder.head_error());
}

// Several ranks as threads of this process, which share its kernel threads out.
void load_ranks(OpenedModel& opened, const ModelOptions& options, const Choice& choice) {
  OwnedCtx::Options each{.threads = std::max(1, choice.threads / options.world()),
                         .isa = choice.isa,
                         .activation = choice.activation};
  const Degrees degrees{.tensor = options.tensor_parallel_size,
                        .stages = options.pipeline_parallel_size,
                        .proportions = options.tensor_parallel_split};
  opened.model = std::make_shared<ThreadRanks>(
      opened.checkpoint,
      each,
      degrees,
      [](const Builder& b) { return make_model(b); },
      choice.building);
  each.threads = 1;
  opened.ctx = std::make_unique<OwnedCtx>(each);
}

// One job per rank; those of one machine share its cores.
std::vector<WorkerJob> jobs_of(const OpenedModel& opened,
                               const ModelOptions& options,
                               const Choice& choice,
                               const WorldPlan& world) {
  std::vector<WorkerJob> jobs;
  // Other machines divide their own cores.
  auto cpus = divide_cpus(choice.machine, static_cast<int>(ranks_of_node(options, 0).size()));
  cpus.resize(static_cast<size_t>(options.world()));
  const uint64_t mark = mark_of(*opened.checkpoint);
  for (int rank = 0; rank < options.world(); ++rank) {
    const auto r = static_cast<size_t>(rank);
    const int cores = std::max(1, static_cast<int>(cpus[r].size()));
    jobs.push_back({.place = place_of(options, rank),
                    .model = opened.source.path,
                    .model_mark = mark,
                    .tensor_names = options.tensor_names,
                    .isa = choice.isa,
                    .activation = choice.activation,
                    .kv_dtype = choice.kv_dtype,
                    .int8_head = options.int8_head,
                    .output = choice.building.output,
                    .threads = options.threads > 0 ? options.threads : cores,
                    .cpus = cpus[r],
                    .num_blocks = world.config.num_blocks,
                    .block_size = world.config.block_size,
                    .arena_bytes = world.ranks[r].arena_bytes,
                    .expert_memory_bytes = world.ranks[r].experts.are_held()
                                               ? std::optional<int64_t>()
                                               : world.ranks[r].experts.held_bytes,
                    .timeout_ms = options.worker_timeout_s * 1'000,
                    .log_level = options.log_level});
  }
  return jobs;
}

// Of what a model that speaks says, nothing but speech and its end is ever drawn.
LogitHook speech_mask(const GlmTtsTokens& tokens) {
  return [tokens](std::span<float> logits, std::span<const int32_t>) {
    for (size_t id = 0; id < logits.size(); ++id)
      if (const auto token = static_cast<int32_t>(id);
          token != tokens.end && !tokens.is_speech(token))
        logits[id] = -INFINITY;
  };
}

// Rows of the output matrix past the tokenizer's vocabulary are padding: they must never be drawn.
LogitHook padding_mask(int64_t rows, int64_t vocabulary) {
  if (rows <= vocabulary) return {};
  return [vocabulary](std::span<float> logits, std::span<const int32_t>) {
    std::fill(logits.begin() + vocabulary, logits.end(), -INFINITY);
  };
}

std::unique_ptr<Speaker> open_speaker(const OpenedModel& opened,
                                      const ModelOptions& options,
                                      const Choice& choice,
                                      const std::string& voices) {
  const MonotonicClock clock;
  const int64_t begin = clock.now_us();
  auto speaker =
      std::make_unique<GlmTtsSpeaker>(GlmTtsOptions{.folder = opened.source.speech_folder,
                                                    .voices = voices,
                                                    .decoder = open_decoder(options.media),
                                                    .computing = {.threads = choice.threads,
                                                                  .isa = choice.isa,
                                                                  .activation = choice.activation}},
                                      opened.prompts->tokenizer());
  log(LogLevel::info,
      "speech: flow and vocoder loaded in {:.2f} s; voices: {}",
      static_cast<double>(clock.now_us() - begin) * 1e-6,
      voices.empty() ? "none (--voices); requests bring theirs"
                     : format("{}", fmt::join(speaker->voice_names(), ", ")));
  return speaker;
}

// The jobs of fewer ranks for an engine that has this many blocks of cache. `opened` must outlive
// what is returned.
WorkerGroup::Planner planner_of(const OpenedModel& opened,
                                const ModelOptions& options,
                                const Choice& choice,
                                const EngineConfig& config) {
  return [&opened, options, choice, blocks = config.num_blocks](const ParallelOptions& layout) {
    ModelOptions fewer = options;
    static_cast<ParallelOptions&>(fewer) = layout;
    WorldPlan world = plan_world(opened, fewer, choice);
    const int64_t lacking = blocks - world.config.num_blocks;
    if (lacking > 0)
      fail(ErrorCode::exhausted,
           "the KV cache has {} blocks, {} ranks have room for {}: a rank lacks {:.2f} GB; start "
           "again with fewer --max-num-seqs, or a smaller --max-model-len",
           blocks,
           layout.world(),
           world.config.num_blocks,
           1e-9 * static_cast<double>(lacking * world.ranks.front().block_bytes));
    world.config.num_blocks = blocks;
    return jobs_of(opened, fewer, choice, world);
  };
}

// Before the weights are read: who sees that it will not do can stop here.
void log_plan(const WorldPlan& world, const OpenedModel& opened, const Choice& choice) {
  log(LogLevel::info,
      "model {} architecture={} isa={} activation={} kv_dtype={} threads={} cpu=\"{}\"",
      opened.source.name,
      world.info.architecture,
      name_of(choice.isa),
      name_of(choice.activation),
      name_of(choice.kv_dtype),
      choice.threads,
      choice.machine.cpu_name);
  for (size_t rank = 0; rank < world.ranks.size(); ++rank)
    log(LogLevel::info,
        "{}{}",
        world.ranks.size() > 1 ? format("rank {}: ", rank) : "",
        world.ranks[rank].table());
  const int64_t kv_tokens = world.ranks.front().kv_tokens;
  log(LogLevel::info,
      "KV cache size: {} tokens; maximum concurrency for {} tokens per request: {:.2f}x",
      kv_tokens,
      world.config.max_model_len,
      static_cast<double>(kv_tokens) / static_cast<double>(world.config.max_model_len));
}

}  // namespace

OpenedModel open_model(const ModelOptions& options) {
  options.validate_parallel();
  if (options.nnodes > 1)
    fail(ErrorCode::unsupported,
         "--nnodes {}: this command keeps its ranks in one process; serve, run and chat take more "
         "machines",
         options.nnodes);
  OpenedModel opened;
  open_files(opened, options);
  if (options.has_workers())
    load_ranks(opened, options, choose(options));
  else
    load_weights(opened, options, choose(options), nullptr);
  if (opened.cache) opened.cache->keep();
  return opened;
}

std::unique_ptr<LoadedModel> LoadedModel::load(const ModelOptions& options,
                                               const LoadOptions& load) {
  set_log_level(parse_log_level(options.log_level));
  options.validate_parallel();
  if (options.executor_backend == "ray" && !is_under_ray())
    fail(ErrorCode::unsupported,
         "--distributed-executor-backend ray: under Ray there is quern serve alone");
  if (options.data_parallel_size > 1)
    fail(ErrorCode::unsupported,
         "--data-parallel-size {}: replicas are for quern serve",
         options.data_parallel_size);
  if (options.node_rank > 0)
    fail(ErrorCode::invalid_argument,
         "--node-rank {}: a further machine is started by quern serve",
         options.node_rank);
  const MonotonicClock clock;
  const int64_t begin = clock.now_us();
  Choice choice = choose(options);
  OpenedModel opened;
  open_files(opened, options);
  const bool speaks = !opened.source.speech_folder.empty();
  if (!speaks && !load.voices.empty())
    fail(ErrorCode::invalid_argument, "--voices {}: {} does not speak", load.voices, options.model);
  choose_use(choice, opened, options.pooling);
  WorldPlan world = plan_world(opened, options, choice);
  if (choice.pooling) choice.pooling->pooling.size = world.info.row_values();
  log_plan(world, opened, choice);
  EngineConfig& config = world.config;
  config.resumes_after_loss = options.on_worker_loss == "resume";
  config.on_workers_gone = load.on_workers_gone;
  config.on_step = load.on_step;
  const Tokenizer& tokenizer = opened.prompts->tokenizer();
  config.logit_hook = speaks ? speech_mask(GlmTtsTokens::read(tokenizer))
                             : padding_mask(world.info.vocab_size, tokenizer.vocab_size());
  std::unique_ptr<LoadedModel> loaded(new LoadedModel(world.ranks.front()));
  if (options.has_workers()) {
    if (options.packed_cache)
      log(LogLevel::warn, "--packed-cache: changes nothing with more than one rank");
    loaded->workers_ =
        std::make_unique<WorkerGroup>(options,
                                      jobs_of(opened, options, choice, world),
                                      planner_of(loaded->opened_, options, choice, config));
  } else {
    load_weights(opened, options, choice, &world.ranks.front());
  }
  loaded->opened_ = std::move(opened);
  loaded->start_engine(config, world.spec);
  const OpenedModel& o = loaded->opened_;
  GenerationDefaults defaults = read_generation_defaults(o.source.path, o.prompts->tokenizer());
  if (!load.generation_config)
    defaults = {.max_tokens = {}, .eos_token_ids = defaults.eos_token_ids};
  ServiceInfo info{
      .names =
          load.served_names.empty() ? std::vector<std::string>{o.source.name} : load.served_names,
      .root = options.model,
      .created = static_cast<int64_t>(std::time(nullptr)),
      .max_model_len = config.max_model_len,
      .block_size = config.block_size,
      .num_blocks = config.num_blocks,
      .kv_dtype = std::string(name_of(choice.kv_dtype)),
      .speculative_tokens = config.speculation.tokens,
      .tokenizer_info = tokenizer_info(
          o.source.tokenizer_path(), template_text(options).value_or(""), o.prompts->tokenizer())};
  if (choice.pooling) info.pooling = choice.pooling->pooling;
  loaded->service_ = std::make_unique<EngineService>(std::move(info),
                                                     std::move(defaults),
                                                     *o.prompts,
                                                     *loaded->engine_,
                                                     open_media(options.media, *o.prompts),
                                                     options.grammars);
  loaded->service_->choose_parsers(load.tool_parser, load.reasoning_parser);
  loaded->service_->set_whisper(
      WhisperEars::open(o.source.path, o.checkpoint->config(), o.prompts->tokenizer()));
  if (speaks) loaded->service_->set_speaker(open_speaker(o, options, choice, load.voices));
  if (choice.pooling)
    log(LogLevel::info, "serves {}", describe(choice.pooling->pooling));
  else
    log_parsers(loaded->service_->dialects(), load);
  if (o.model)
    log_ready(o, clock.now_us() - begin);
  else
    log(LogLevel::info,
        "{} ranks ready in {:.2f} s",
        options.world(),
        static_cast<double>(clock.now_us() - begin) * 1e-6);
  if (o.cache) o.cache->keep();
  return loaded;
}

LoadedModel::~LoadedModel() {
  if (workers_) workers_->stop();
}

void LoadedModel::start_engine(const EngineConfig& config, const KvSpec& spec) {
  if (workers_) {
    engine_ = std::make_unique<Engine>(
        config, [this](uint64_t epoch) { return workers_->start(epoch); }, clock_);
    return;
  }
  // The cache outlives an executor that is replaced: its successor recomputes what it needs in the
  // same blocks.
  auto kv = std::make_shared<KvCache>(spec, config.num_blocks, config.block_size, Device::cpu());
  engine_ = std::make_unique<Engine>(
      config,
      [this, kv](uint64_t epoch) {
        return make_local_executor(epoch, {opened_.model, opened_.ctx->ctx(), kv});
      },
      clock_);
}

std::shared_ptr<const Prompt> LoadedModel::prepare_chat(const Json& messages) const {
  ChatMessages chat;
  chat.messages = std::make_shared<const Json>(messages);
  return service_->prepare(chat);
}

}  // namespace quern
