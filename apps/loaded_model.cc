// SPDX-License-Identifier: Apache-2.0
#include "loaded_model.h"

#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

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
#include "start_log.h"

namespace quern {
namespace {

// Where nothing else is asked for, the KV cache leaves the rest of the machine to others.
constexpr int64_t kDefaultKvBytes = int64_t{4} << 30;

double gib(int64_t bytes) {
  return static_cast<double>(bytes) / (int64_t{1} << 30);
}

std::optional<std::string> template_text(const ModelOptions& options) {
  if (options.chat_template.empty()) return std::nullopt;
  return read_file(options.chat_template, size_t{4} << 20);
}

// What was chosen for this machine.
struct Choice {
  Topology machine;
  Isa isa;
  Activation activation;
  DType kv_dtype;
  int threads;
  int64_t budget;  // bytes
  BuilderOptions building;
  std::optional<ChosenPooling> pooling;  // of a model that is served for its vectors
};

Choice choose(const ModelOptions& options) {
  Choice c{.machine = probe_topology(),
           .isa = {},
           .activation = {},
           .kv_dtype = {},
           .threads = options.threads,
           .budget = 0,
           .building = {},
           .pooling = {}};
  c.building.int8_head = options.int8_head;
  c.isa = chosen_isa(options, c.machine);
  c.activation = chosen_activation(options, c.isa);
  c.kv_dtype = chosen_kv_dtype(options, c.activation);
  if (c.threads == 0) c.threads = std::max(1, c.machine.physical_cores);
  c.budget = static_cast<int64_t>(options.memory_utilization *
                                  static_cast<double>(c.machine.available_bytes));
  return c;
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
  opened.checkpoint = open_checkpoint(opened.source.path);
  opened.prompts = PromptBuilder::open(
      opened.source.path, *opened.checkpoint, template_text(options), options.media.processor);
  const auto stated = opened.checkpoint->config().find("quantization_config");
  if (!options.quantization.empty() && !stated)
    log(LogLevel::warn,
        "--quantization {}: this checkpoint is not quantized by its config; the files decide",
        options.quantization);
}

void load_weights(OpenedModel& opened,
                  const ModelOptions& options,
                  const Choice& choice,
                  int64_t arena_bytes) {
  const MonotonicClock clock;
  const int64_t begin = clock.now_us();
  opened.ctx = std::make_unique<OwnedCtx>(OwnedCtx::Options{.threads = choice.threads,
                                                            .isa = choice.isa,
                                                            .activation = choice.activation,
                                                            .arena_bytes = arena_bytes});
  BuilderOptions building = choice.building;
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

BuilderOptions building_of(const Choice& choice, const RankPlace& place) {
  BuilderOptions out = choice.building;
  out.stage = place.stage_shard();
  return out;
}

class Planner {
 public:
  Planner(const OpenedModel& opened,
          const ModelOptions& options,
          const Choice& choice,
          const RankPlace& place)
      : opened_(opened),
        options_(options),
        ctx_(OwnedCtx::meta(choice.isa, choice.activation)),
        model_(make_model(
            Builder(opened.checkpoint, ctx_.ctx(), place.shard(), building_of(choice, place)))),
        spec_(model_->kv_spec()),
        pooling_(choice.pooling),
        budget_(choice.budget) {
    spec_.dtype = choice.kv_dtype;
  }

  const KvSpec& spec() const { return spec_; }
  int64_t weight_bytes() const { return model_->weight_bytes(); }
  void take_share(double share) {
    budget_ = static_cast<int64_t>(share * static_cast<double>(budget_));
  }
  const ModelInfo& info() const { return model_->info(); }

  // Settles what is "auto" in the config, and the number of blocks.
  MemoryPlan settle(EngineConfig& config) {
    config.block_size = options_.block_size;
    config.max_num_seqs = options_.max_num_seqs;
    config.max_num_batched_tokens = chosen_batched_tokens(options_);
    config.enable_prefix_caching = options_.enable_prefix_caching;
    options_.scheduling.apply(config);
    const int64_t most = model_->info().max_positions;
    config.max_model_len = chosen_length(options_, most, usual_length(most));
    if (pooling_) config.pooling = pooling_->pooling.type;
    config.vocab_size = model_->info().vocab_size;
    config.num_blocks = options_.num_blocks;
    const int64_t token_bytes = std::max<int64_t>(1, spec_.bytes_per_token());
    const bool is_limited = !options_.kv_cache_memory_bytes.empty();
    const int64_t kv_limit =
        is_limited ? parse_count(options_.kv_cache_memory_bytes, "--kv-cache-memory-bytes")
                   : kDefaultKvBytes;
    if (has_auto_length(options_)) shorten(config, token_bytes, is_limited ? kv_limit : budget_);
    if (config.num_blocks == 0) {
      const int64_t for_one = (config.max_model_len + config.block_size - 1) / config.block_size;
      // What nobody asked for leaves room for the rest.
      const int64_t bytes = is_limited ? kv_limit : std::min(kv_limit, free_beside(config));
      const int64_t within = std::max<int64_t>(bytes, 0) / (token_bytes * config.block_size);
      if (is_limited && within < for_one)
        fail(ErrorCode::exhausted,
             "--kv-cache-memory-bytes {}: {} blocks of {} tokens fit, one sequence of {} tokens "
             "needs {} ({} bytes)",
             options_.kv_cache_memory_bytes,
             within,
             config.block_size,
             config.max_model_len,
             for_one,
             for_one * token_bytes * config.block_size);
      config.num_blocks = std::min(std::max(within, for_one), for_one * config.max_num_seqs);
    }
    return plan(config);
  }

  MemoryPlan plan(const EngineConfig& config) {
    const std::optional<MediaInput> largest = opened_.prompts->largest_medium(config.max_model_len);
    return plan_memory(
        {*model_, ctx_.ctx(), spec_, largest ? &*largest : nullptr}, config, budget_);
  }

 private:
  // Where nobody asks for another: as far as the embeddings were made for.
  int64_t usual_length(int64_t most) const {
    return pooling_ && pooling_->max_tokens > 1 ? std::min(most, pooling_->max_tokens) : most;
  }

  // Bytes that are left for the KV cache.
  int64_t free_beside(EngineConfig config) {
    config.num_blocks = 1;
    const MemoryPlan fixed = plan(config);
    return budget_ - (fixed.total_bytes() - fixed.kv_bytes);
  }

  // The longest sequence of which one fits, up to the model's own length.
  void shorten(EngineConfig& config, int64_t token_bytes, int64_t kv_limit) {
    EngineConfig least = config;
    least.max_model_len = std::min<int64_t>(config.max_model_len, config.block_size);
    const int64_t free_bytes = std::min(kv_limit, free_beside(least));
    const int64_t fitting =
        std::max<int64_t>(free_bytes / (token_bytes * config.block_size), 1) * config.block_size;
    if (fitting >= config.max_model_len) return;
    log(LogLevel::warn,
        "max_model_len is {}, not the model's own {}: more does not fit",
        fitting,
        config.max_model_len);
    config.max_model_len = fitting;
  }

  const OpenedModel& opened_;
  const ModelOptions& options_;
  OwnedCtx ctx_;
  std::unique_ptr<Model> model_;
  KvSpec spec_;
  std::optional<ChosenPooling> pooling_;
  int64_t budget_ = 0;
};

// The plans of all ranks, and what they have in common.
struct WorldPlan {
  EngineConfig config;
  std::vector<MemoryPlan> ranks;
  KvSpec spec;  // of rank 0
  ModelInfo info;
};

// Ranks of one machine share its memory as they share the weights. Other machines are taken to be
// like this one.
void share_memory(const ModelOptions& options, std::span<const std::unique_ptr<Planner>> planners) {
  for (int node = 0; node < options.nnodes; ++node) {
    const std::vector<int> ranks = ranks_of_node(options, node);
    int64_t all = 0;
    for (const int rank : ranks) all += planners[static_cast<size_t>(rank)]->weight_bytes() + 1;
    for (const int rank : ranks) {
      Planner& planner = *planners[static_cast<size_t>(rank)];
      planner.take_share(static_cast<double>(planner.weight_bytes() + 1) /
                         static_cast<double>(all));
    }
  }
}

WorldPlan plan_world(const OpenedModel& opened, const ModelOptions& options, const Choice& choice) {
  WorldPlan world;
  std::vector<std::unique_ptr<Planner>> planners;
  for (int rank = 0; rank < options.world(); ++rank)
    planners.push_back(std::make_unique<Planner>(opened, options, choice, place_of(options, rank)));
  share_memory(options, planners);
  for (int rank = 0; rank < options.world(); ++rank) {
    EngineConfig config;
    const MemoryPlan plan = planners[static_cast<size_t>(rank)]->settle(config);
    config.num_blocks = plan.num_blocks;
    const int64_t length = world.config.max_model_len, blocks = world.config.num_blocks;
    world.config = config;
    if (rank == 0) continue;
    // Blocks have the same ids on all ranks.
    world.config.max_model_len = std::min(length, config.max_model_len);
    world.config.num_blocks = std::min(blocks, config.num_blocks);
  }
  world.config.validate();
  for (const auto& planner : planners) world.ranks.push_back(planner->plan(world.config));
  world.spec = planners.front()->spec();
  world.info = planners.front()->info();
  return world;
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
                    .timeout_ms = options.worker_timeout_s * 1'000,
                    .log_level = options.log_level});
  }
  return jobs;
}

// Rows of the output matrix past the tokenizer's vocabulary are padding: they must never be drawn.
LogitHook padding_mask(int64_t rows, int64_t vocabulary) {
  if (rows <= vocabulary) return {};
  return [vocabulary](std::span<float> logits, std::span<const int32_t>) {
    std::fill(logits.begin() + vocabulary, logits.end(), -INFINITY);
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
    load_weights(opened, options, choose(options), 0);
  if (opened.cache) opened.cache->keep();
  return opened;
}

std::unique_ptr<LoadedModel> LoadedModel::load(const ModelOptions& options,
                                               const LoadOptions& load) {
  set_log_level(parse_log_level(options.log_level));
  options.validate_parallel();
  if (options.node_rank > 0)
    fail(ErrorCode::invalid_argument,
         "--node-rank {}: a further machine is started by quern serve",
         options.node_rank);
  const MonotonicClock clock;
  const int64_t begin = clock.now_us();
  Choice choice = choose(options);
  OpenedModel opened;
  open_files(opened, options);
  choose_use(choice, opened, options.pooling);
  WorldPlan world = plan_world(opened, options, choice);
  if (choice.pooling) choice.pooling->pooling.size = world.info.row_values();
  log_plan(world, opened, choice);
  EngineConfig& config = world.config;
  config.resumes_after_loss = options.on_worker_loss == "resume";
  config.on_workers_gone = load.on_workers_gone;
  config.logit_hook = padding_mask(world.info.vocab_size, opened.prompts->tokenizer().vocab_size());
  std::unique_ptr<LoadedModel> loaded(new LoadedModel(world.ranks.front()));
  if (options.has_workers()) {
    if (options.packed_cache)
      log(LogLevel::warn, "--packed-cache: changes nothing with more than one rank");
    loaded->workers_ =
        std::make_unique<WorkerGroup>(options, jobs_of(opened, options, choice, world));
  } else {
    load_weights(opened, options, choice, world.ranks.front().arena_bytes);
  }
  loaded->opened_ = std::move(opened);
  loaded->start_engine(config, world.spec);
  const OpenedModel& o = loaded->opened_;
  GenerationDefaults defaults = read_generation_defaults(o.source.path, o.prompts->tokenizer());
  if (!load.generation_config)
    defaults = {.max_tokens = {}, .eos_token_ids = defaults.eos_token_ids};
  ServiceInfo info{.names = load.served_names.empty() ? std::vector<std::string>{o.source.name}
                                                      : load.served_names,
                   .root = options.model,
                   .created = static_cast<int64_t>(std::time(nullptr)),
                   .max_model_len = config.max_model_len,
                   .block_size = config.block_size,
                   .num_blocks = config.num_blocks,
                   .kv_dtype = std::string(name_of(choice.kv_dtype)),
                   .speculative_tokens = config.speculation.tokens,
                   .tokenizer_info = tokenizer_info(
                       o.source.path, template_text(options).value_or(""), o.prompts->tokenizer())};
  if (choice.pooling) info.pooling = choice.pooling->pooling;
  loaded->service_ = std::make_unique<EngineService>(std::move(info),
                                                     std::move(defaults),
                                                     *o.prompts,
                                                     *loaded->engine_,
                                                     open_media(options.media, *o.prompts),
                                                     options.grammars);
  loaded->service_->choose_parsers(load.tool_parser, load.reasoning_parser);
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
