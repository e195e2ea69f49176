// SPDX-License-Identifier: Apache-2.0
#include "world_plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "cluster.h"
#include "command_line.h"
#include "models/registry.h"

namespace quern {
namespace {

// Where nothing else is asked for, the KV cache leaves the rest of the machine to others.
constexpr int64_t kDefaultKvBytes = int64_t{4} << 30;
// Experts are left in the file where holding them all would leave room for less than this.
constexpr int64_t kUsualTokens = 8192;

// Experts are counted apart: how many of them are held is settled last.
BuilderOptions building_of(const Choice& choice, const RankPlace& place) {
  BuilderOptions out = choice.building;
  out.stage = place.stage_shard();
  out.expert_memory_bytes = 0;
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
        most_experts_(choice.building.expert_memory_bytes),
        ctx_(OwnedCtx::meta(choice.isa, choice.activation)),
        builder_(opened.checkpoint, ctx_.ctx(), place.shard(), building_of(choice, place)),
        model_(make_model(builder_)),
        experts_{.file_bytes = builder_.paged_experts().bytes},
        spec_(model_->kv_spec()),
        pooling_(choice.pooling),
        budget_(choice.budget) {
    spec_.dtype = choice.kv_dtype;
    experts_.held_bytes =
        std::min(most_experts_.value_or(experts_.file_bytes), experts_.file_bytes);
  }

  const KvSpec& spec() const { return spec_; }
  // Of all that lies in memory, and of experts that might.
  int64_t weight_bytes() const { return model_->weight_bytes() + experts_.file_bytes; }
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
    if (leaves_experts()) leave_experts(config, is_limited ? kv_limit : 0);
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
        {*model_, ctx_.ctx(), spec_, largest ? &*largest : nullptr, experts_}, config, budget_);
  }

  // Once all is settled: experts in the file get what nobody else takes.
  MemoryPlan finish(const EngineConfig& config) {
    const MemoryPlan out = plan(config);
    if (!leaves_experts() || experts_.are_held()) return out;
    experts_.held_bytes =
        std::min(experts_.held_bytes + budget_ - out.total_bytes(), experts_.file_bytes);
    return plan(config);
  }

 private:
  bool leaves_experts() const {
    return options_.expert_memory == "auto" && experts_.file_bytes > 0;
  }

  // Experts that do not all fit beside one sequence stay in the file. The KV cache gets at most
  // half of the room, more only where it was asked for.
  void leave_experts(EngineConfig config, int64_t kv_bytes) {
    experts_.held_bytes = 0;
    if (has_auto_length(options_))
      config.max_model_len = std::min(config.max_model_len, kUsualTokens);
    const int64_t tokens = std::max(config.max_model_len, config.num_blocks * config.block_size);
    kv_bytes = std::max(kv_bytes, tokens * spec_.bytes_per_token());
    const int64_t room = free_beside(config);
    experts_.held_bytes = room - kv_bytes >= experts_.file_bytes
                              ? experts_.file_bytes
                              : std::clamp<int64_t>(room - kv_bytes, 0, room / 2);
  }

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
  std::optional<int64_t> most_experts_;  // asked for
  OwnedCtx ctx_;
  Builder builder_;
  std::unique_ptr<Model> model_;
  ExpertBytes experts_;
  KvSpec spec_;
  std::optional<ChosenPooling> pooling_;
  int64_t budget_ = 0;
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

}  // namespace

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
  const std::string& experts = options.expert_memory;
  if (experts != "auto" && experts != "all")
    c.building.expert_memory_bytes = parse_count(experts, "--expert-memory");
  c.budget = static_cast<int64_t>(options.memory_utilization *
                                  static_cast<double>(c.machine.available_bytes));
  return c;
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
  for (const auto& planner : planners) world.ranks.push_back(planner->finish(world.config));
  world.spec = planners.front()->spec();
  world.info = planners.front()->info();
  return world;
}

}  // namespace quern
