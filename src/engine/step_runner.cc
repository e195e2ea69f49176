// SPDX-License-Identifier: Apache-2.0
#include "engine/step_runner.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <span>

#include "comm/communicator.h"

namespace quern {

StepRunner::StepRunner(RankParts parts, Probe* probe) : parts_(std::move(parts)), probe_(probe) {
  QUERN_CHECK(parts_.model && parts_.kv, "a rank needs a model and its cache");
}

StepResult StepRunner::run(StepPlan& plan) {
  StepResult result{.epoch = plan.epoch,
                    .step = plan.step,
                    .row_size = parts_.model->info().row_values(),
                    .rows = {},
                    .encode_us = 0};
  std::exception_ptr error;
  try {
    prepare(plan, result);
  } catch (...) {
    error = std::current_exception();
  }
  // Ranks see the same plan and differ only in what encoding may meet: memory.
  if (!plan.encode.empty()) agree(error);
  if (error) std::rethrow_exception(error);
  if (plan.batch.token_count() > 0) forward(plan.batch, result);
  for (const Hash128& hash : plan.release) encoded_.erase(hash);
  return result;
}

// Media rows replace embeddings, which the first stage alone looks up.
bool StepRunner::is_first_stage() const {
  return parts_.ctx.stages == nullptr || parts_.ctx.stages->rank() == 0;
}

void StepRunner::prepare(StepPlan& plan, StepResult& result) {
  check(plan.batch);
  if (!is_first_stage()) return;
  const int64_t begin_us = clock_.now_us();
  for (const EncodeTask& task : plan.encode) encode(task);
  if (!plan.encode.empty()) result.encode_us = clock_.now_us() - begin_us;
  fill(plan);
}

// A rank that left the step while the others wait for it in `forward` would cost all of them.
void StepRunner::agree(const std::exception_ptr& error) {
  float has_failed = error ? 1 : 0;
  for (Communicator* group : {parts_.ctx.ranks, parts_.ctx.stages})
    if (group != nullptr) group->all_reduce_max(std::span(&has_failed, 1));
  if (has_failed > 0 && !error)
    fail(ErrorCode::internal, "step: another rank could not prepare it");
}

// What a kernel could only answer by reading or writing out of bounds.
void StepRunner::check(const Batch& batch) const {
  const ModelInfo& info = parts_.model->info();
  if (batch.axes != 1 && batch.axes != info.rope_axes)
    fail(ErrorCode::invalid_argument,
         "step: positions of {} axes, the model has {}",
         batch.axes,
         info.rope_axes);
  for (const int32_t token : batch.tokens)
    if (token < 0 || token >= info.vocab_size)
      fail(ErrorCode::invalid_argument,
           "step: token id {}: the vocabulary has 0 to {}",
           token,
           info.vocab_size - 1);
  const int64_t blocks = parts_.kv->num_blocks();
  const auto is_past = [&](int32_t block) { return block >= blocks; };
  if (std::any_of(batch.block_tables.begin(), batch.block_tables.end(), is_past) ||
      std::any_of(batch.slots.begin(),
                  batch.slots.end(),
                  [&](int32_t slot) { return slot / batch.block_size >= blocks; }) ||
      batch.block_size != parts_.kv->block_size())
    fail(ErrorCode::invalid_argument,
         "step: blocks out of bounds: the cache has {} of {} tokens",
         blocks,
         parts_.kv->block_size());
}

// The rows outlive the step, so they leave the arena, whose size is that of one step.
void StepRunner::encode(const EncodeTask& task) {
  const Tensor rows = parts_.model->encode(parts_.ctx, *task.media, probe_);
  const Tensor kept = Tensor::empty(rows.shape(), rows.dtype(), rows.device());
  std::memcpy(kept.raw(), rows.contiguous().raw(), static_cast<size_t>(rows.bytes()));
  encoded_[task.hash] = kept;
}

const Tensor& StepRunner::rows_of(const Hash128& hash, int64_t end) const {
  const auto it = encoded_.find(hash);
  if (it == encoded_.end() || it->second.dim(0) < end)
    fail(ErrorCode::internal,
         "step: medium {}: rows up to {} are not encoded here",
         hash.hex(),
         end);
  return it->second;
}

void StepRunner::fill(StepPlan& plan) const {
  for (const MediaUse& use : plan.media) {
    const int64_t end = int64_t{use.source_begin} + use.count;
    plan.batch.media.push_back(
        {use.first_row, rows_of(use.hash, end).slice(0, use.source_begin, end)});
  }
}

void StepRunner::forward(const Batch& batch, StepResult& result) {
  const Tensor logits = parts_.model->forward(parts_.ctx, batch, *parts_.kv, probe_);
  if (batch.sample_rows.empty() || !logits.defined() || logits.numel() == 0) return;
  const auto values = logits.contiguous().span<float>();
  result.rows.assign(values.begin(), values.end());
}

Error step_error(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& e) {
    return e;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::exhausted, "step: out of memory");
  } catch (const std::exception& e) {
    return Error(ErrorCode::internal, format("step: {}", e.what()));
  }
}

}  // namespace quern
