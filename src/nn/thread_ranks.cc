// SPDX-License-Identifier: Apache-2.0
#include "nn/thread_ranks.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <thread>

#include "base/error.h"
#include "comm/thread_group.h"

namespace quern {

struct ThreadRanks::Rank {
  Shard shard, stage;
  std::unique_ptr<Communicator> ranks, stages;
  std::unique_ptr<OwnedCtx> ctx;
  std::unique_ptr<Model> model;
  std::optional<KvCache> kv;

  bool answers() const { return shard.rank() == 0 && stage.rank() + 1 == stage.size(); }
  bool is_first_of_stage() const { return shard.rank() == 0; }

  KvCache& cache_like(KvCache& whole) {
    const DType dtype = whole.layer(0).k.dtype();
    const bool fits = kv && kv->num_blocks() == whole.num_blocks() &&
                      kv->block_size() == whole.block_size() && kv->layer(0).k.dtype() == dtype;
    if (!fits) {
      KvSpec spec = model->kv_spec();
      spec.dtype = dtype;
      kv.emplace(spec, whole.num_blocks(), whole.block_size(), Device::cpu());
    }
    return *kv;
  }
};

namespace {

// A rank that fails leaves the others waiting: what it says explains their complaint.
void rethrow_first_cause(const std::vector<std::exception_ptr>& failures) {
  std::exception_ptr found;
  for (const std::exception_ptr& failure : failures) {
    if (!failure) continue;
    try {
      std::rethrow_exception(failure);
    } catch (const Error& e) {
      if (!found || e.code() != ErrorCode::unavailable) found = failure;
    } catch (...) {
      found = failure;
    }
  }
  if (found) std::rethrow_exception(found);
}

}  // namespace

template <typename Body>
void ThreadRanks::run(Body body) const {
  std::vector<std::exception_ptr> failures(ranks_.size());
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < ranks_.size(); ++i)
      threads.emplace_back([&, i] {
        try {
          body(*ranks_[i]);
        } catch (...) {
          failures[i] = std::current_exception();
        }
      });
  }
  rethrow_first_cause(failures);
}

ThreadRanks::ThreadRanks(const std::shared_ptr<const Checkpoint>& checkpoint,
                         const OwnedCtx::Options& each,
                         const Degrees& degrees,
                         const Factory& make,
                         const BuilderOptions& building)
    : degrees_(degrees) {
  for (int stage = 0; stage < degrees.stages; ++stage) {
    auto group = make_thread_group(degrees.tensor);
    for (int r = 0; r < degrees.tensor; ++r) {
      auto rank = std::make_unique<Rank>();
      rank->shard = Shard(r, degrees.tensor, degrees.proportions);
      rank->stage = Shard(stage, degrees.stages);
      rank->ctx = std::make_unique<OwnedCtx>(each);
      rank->ranks = std::move(group[static_cast<size_t>(r)]);
      rank->ctx->ctx().ranks = rank->ranks.get();
      ranks_.push_back(std::move(rank));
    }
  }
  for (int r = 0; r < degrees.tensor; ++r) {
    auto group = make_thread_group(degrees.stages);
    for (int stage = 0; stage < degrees.stages; ++stage) {
      Rank& rank = *ranks_[static_cast<size_t>(stage * degrees.tensor + r)];
      rank.stages = std::move(group[static_cast<size_t>(stage)]);
      rank.ctx->ctx().stages = rank.stages.get();
    }
  }
  for (const auto& rank : ranks_) {
    BuilderOptions options = building;
    options.stage = rank->stage;
    rank->model = make(Builder(checkpoint, rank->ctx->ctx(), rank->shard, options));
  }
}

ThreadRanks::~ThreadRanks() = default;

const ModelInfo& ThreadRanks::info() const {
  return ranks_.front()->model->info();
}

KvSpec ThreadRanks::kv_spec() const {
  return ranks_.front()->model->kv_spec();
}

int64_t ThreadRanks::weight_bytes() const {
  int64_t sum = 0;
  for (const auto& rank : ranks_) sum += rank->model->weight_bytes();
  return sum;
}

Tensor ThreadRanks::encode(Ctx&, const MediaInput& media, Probe* probe) const {
  Tensor out;
  run([&](Rank& rank) {
    if (rank.stage.rank() != 0) return;
    const bool is_first = rank.is_first_of_stage();
    const Tensor rows = rank.model->encode(rank.ctx->ctx(), media, is_first ? probe : nullptr);
    if (is_first) out = rows;
  });
  return out;
}

Tensor ThreadRanks::forward(Ctx&, const Batch& batch, KvCache& kv, Probe* probe) const {
  Tensor out;
  for (const auto& rank : ranks_) (void)rank->cache_like(kv);
  run([&](Rank& rank) {
    const Tensor logits = rank.model->forward(
        rank.ctx->ctx(), batch, *rank.kv, rank.is_first_of_stage() ? probe : nullptr);
    if (rank.answers()) out = logits;
  });
  return out;
}

}  // namespace quern
