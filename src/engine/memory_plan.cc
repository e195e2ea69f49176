// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace quern {
namespace {

int64_t blocks_for(int64_t tokens, int block_size) {
  return (tokens + block_size - 1) / block_size;
}

double gib(int64_t bytes) {
  return static_cast<double>(bytes) / (int64_t{1} << 30);
}

// The widest step: all tokens, all seats, all rows, every block table as long as it gets.
Batch widest_batch(const EngineConfig& config, int axes) {
  Batch b;
  const int tokens = config.max_num_batched_tokens,
            sequences = std::min(config.max_num_seqs, tokens);
  b.axes = axes;
  b.block_size = config.block_size;
  b.blocks_per_row = static_cast<int32_t>(blocks_for(config.max_model_len, config.block_size));
  b.tokens.assign(static_cast<size_t>(tokens), 0);
  b.positions.assign(static_cast<size_t>(tokens) * static_cast<size_t>(axes), 0);
  b.slots.assign(static_cast<size_t>(tokens), 0);
  for (int s = 0; s <= sequences; ++s)
    b.offsets.push_back(static_cast<int32_t>(int64_t{tokens} * s / sequences));
  b.context_lengths.assign(static_cast<size_t>(sequences),
                           static_cast<int32_t>(config.max_model_len));
  b.block_tables.assign(static_cast<size_t>(sequences) * static_cast<size_t>(b.blocks_per_row), 0);
  for (int row = tokens - config.most_rows(); row < tokens; ++row) b.sample_rows.push_back(row);
  return b;
}

struct Scratch {
  int64_t arena_bytes = 0;
  int64_t media_row_bytes = 0;
};

Scratch run_on_meta(const PlanSubject& subject, const EngineConfig& config) {
  QUERN_CHECK(subject.ctx.device.is_meta());
  Arena arena(Device::meta());
  Ctx ctx = subject.ctx;
  ctx.arena = &arena;
  Scratch scratch;
  if (subject.largest) {
    const Tensor rows = subject.model.encode(ctx, *subject.largest);
    scratch.media_row_bytes = rows.dim(0) > 0 ? rows.bytes() / rows.dim(0) : 0;
  }
  KvCache kv(subject.kv_spec, 1, config.block_size, Device::meta());
  subject.model.forward(ctx, widest_batch(config, subject.model.info().rope_axes), kv);
  scratch.arena_bytes = arena.peak_bytes();
  return scratch;
}

// The smallest change that makes the rest fit beside the parts that are fixed.
std::string remedy(const MemoryPlan& plan, const EngineConfig& config) {
  const int64_t left = plan.budget_bytes - plan.total_bytes();
  const int64_t blocks = left > 0 && plan.block_bytes > 0 ? left / plan.block_bytes : 0;
  if (blocks > 0 && config.num_blocks > 0) return format("{} blocks would fit", blocks);
  if (blocks > 0)
    return format("a max_model_len of at most {} would fit", blocks * config.block_size);
  return format(
      "a smaller max_num_batched_tokens (now {}) or max_num_seqs (now {}) shrinks the scratch; "
      "else take a smaller model",
      config.max_num_batched_tokens,
      config.max_num_seqs);
}

[[noreturn]] void fail_to_fit(const MemoryPlan& plan, const EngineConfig& config, int64_t blocks) {
  const int64_t kv_bytes = blocks * plan.block_bytes,
                missing = plan.total_bytes() + kv_bytes - plan.budget_bytes;
  fail(ErrorCode::exhausted,
       "memory: {:.3f} GiB are allowed, {:.3f} more are needed (weights {:.3f}, scratch {:.3f}, "
       "encoded pictures {:.3f}, logits {:.3f}, "
       "KV cache {:.3f} for {} tokens); {}",
       gib(plan.budget_bytes),
       gib(missing),
       gib(plan.weight_bytes),
       gib(plan.arena_bytes),
       gib(plan.media_bytes),
       gib(plan.logits_bytes),
       gib(kv_bytes),
       blocks * config.block_size,
       remedy(plan, config));
}

}  // namespace

std::string MemoryPlan::table() const {
  const auto line = [this](std::string_view part, int64_t bytes, const std::string& note) {
    const double share =
        budget_bytes > 0 ? 100.0 * static_cast<double>(bytes) / static_cast<double>(budget_bytes)
                         : 0;
    return format("  {:<18}{:>10.3f} GiB {:>6.1f} %  {}\n", part, gib(bytes), share, note);
  };
  return format("memory plan, {:.3f} GiB allowed\n", gib(budget_bytes)) +
         line("weights",
              weight_bytes,
              experts.are_held()
                  ? std::string()
                  : format("with {:.3f} of {:.3f} GiB of experts; the others stay in "
                           "the file until tokens choose them",
                           gib(experts.held_bytes),
                           gib(experts.file_bytes))) +
         line("scratch", arena_bytes, "largest step or picture") +
         line("encoded pictures", media_bytes, "") + line("logits", logits_bytes, "") +
         line("KV cache", kv_bytes, format("{} blocks, {} tokens", num_blocks, kv_tokens)) +
         line("total", total_bytes(), "");
}

MemoryPlan plan_memory(const PlanSubject& subject,
                       const EngineConfig& config,
                       int64_t budget_bytes) {
  const Scratch scratch = run_on_meta(subject, config);
  MemoryPlan plan;
  plan.budget_bytes = budget_bytes;
  plan.weight_bytes = subject.model.weight_bytes() + subject.experts.held_bytes;
  plan.experts = subject.experts;
  plan.arena_bytes = scratch.arena_bytes;
  if (subject.largest)
    plan.media_bytes =
        (config.encode_budget_tokens + 2 * subject.largest->tokens) * scratch.media_row_bytes;
  // Once in the worker's answer, once in the sampler's copy for log-probabilities.
  plan.logits_bytes =
      2 * int64_t{config.most_rows()} * subject.model.info().row_values() * int64_t{sizeof(float)};
  plan.block_bytes = subject.kv_spec.bytes_per_token() * config.block_size;
  const int64_t for_one = blocks_for(config.max_model_len, config.block_size);
  const int64_t wanted = config.num_blocks > 0 ? config.num_blocks : for_one;
  if (plan.total_bytes() + wanted * plan.block_bytes > budget_bytes)
    fail_to_fit(plan, config, wanted);
  const int64_t most = std::min(for_one * config.max_num_seqs,
                                int64_t{std::numeric_limits<int32_t>::max()} / config.block_size);
  const int64_t fitting =
      plan.block_bytes > 0 ? (budget_bytes - plan.total_bytes()) / plan.block_bytes : most;
  plan.num_blocks = config.num_blocks > 0 ? config.num_blocks : std::min(most, fitting);
  plan.kv_bytes = plan.num_blocks * plan.block_bytes;
  plan.kv_tokens = plan.num_blocks * config.block_size;
  return plan;
}

}  // namespace quern
