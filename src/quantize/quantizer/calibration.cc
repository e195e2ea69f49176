// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/calibration.h"

#include <algorithm>

#include "base/error.h"
#include "cache/kv_cache.h"
#include "comm/communicator.h"
#include "models/registry.h"
#include "nn/builder.h"

namespace quern {
namespace {

constexpr int kBlockSize = 16;

// [A, T] of all sequences, where `axes` is A.
std::vector<int32_t> positions_of(std::span<const CalibrationSequence> sequences, int axes) {
  std::vector<int32_t> out;
  for (int axis = 0; axis < axes; ++axis)
    for (const CalibrationSequence& s : sequences) {
      const auto count = static_cast<int32_t>(s.ids.size());
      if (!s.positions.empty() && s.positions.size() != s.ids.size() * static_cast<size_t>(axes))
        fail(ErrorCode::invalid_argument,
             "calibration: {} positions of {} tokens: expected {} axes",
             s.positions.size(),
             count,
             axes);
      for (int32_t t = 0; t < count; ++t)
        out.push_back(
            s.positions.empty()
                ? t
                : s.positions[static_cast<size_t>(axis) * s.ids.size() + static_cast<size_t>(t)]);
    }
  return out;
}

// Sequences as one step, each with blocks of its own.
Batch batch_of(std::span<const CalibrationSequence> sequences, int axes) {
  Batch out;
  out.axes = axes;
  out.positions = positions_of(sequences, axes);
  out.block_size = kBlockSize;
  out.offsets = {0};
  for (const CalibrationSequence& s : sequences) {
    const auto count = static_cast<int32_t>(s.ids.size());
    out.blocks_per_row = std::max(out.blocks_per_row, (count + kBlockSize - 1) / kBlockSize);
  }
  for (size_t s = 0; s < sequences.size(); ++s) {
    const std::vector<int32_t>& ids = sequences[s].ids;
    const auto count = static_cast<int32_t>(ids.size());
    const int32_t first = static_cast<int32_t>(s) * out.blocks_per_row;
    out.tokens.insert(out.tokens.end(), ids.begin(), ids.end());
    for (int32_t b = 0; b < out.blocks_per_row; ++b) out.block_tables.push_back(first + b);
    for (int32_t t = 0; t < count; ++t) out.slots.push_back(first * kBlockSize + t);
    out.offsets.push_back(out.offsets.back() + count);
    out.context_lengths.push_back(count);
  }
  return out;
}

// What the model's tower makes of the pictures of these sequences.
void add_pictures(Ctx& ctx,
                  const Model& model,
                  std::span<const CalibrationSequence> sequences,
                  Batch& batch) {
  for (size_t s = 0; s < sequences.size(); ++s)
    for (const CalibrationSequence::Picture& p : sequences[s].pictures)
      batch.media.push_back({batch.offsets[s] + p.first_token, model.encode(ctx, *p.media)});
}

}  // namespace

// Where the stage of one layer meets "the others": its input comes from the tape, its output goes
// there.
class CalibrationStream::Tape final : public Communicator {
 public:
  Tape(int rank, int size) : rank_(rank), size_(size) {}

  std::vector<float> input, output;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void send(int, std::span<const float> values) override {
    output.assign(values.begin(), values.end());
  }
  void receive(int, std::span<float> values) override {
    QUERN_CHECK(values.size() == input.size(), "{} of {}", input.size(), values.size());
    std::ranges::copy(input, values.begin());
  }
  void all_reduce_sum(std::span<float>) override { QUERN_CHECK(false); }
  void all_reduce_max(std::span<float>) override { QUERN_CHECK(false); }
  void gather(std::span<const float>, std::span<const int64_t>, std::span<float>) override {
    QUERN_CHECK(false);
  }
  void barrier() override {}

 private:
  int rank_, size_;
};

CalibrationStream::CalibrationStream(Ctx& ctx,
                                     const std::vector<CalibrationSequence>& sequences,
                                     int layers)
    : ctx_(ctx), sequences_(sequences), layers_(layers), states_(sequences.size()) {}

int64_t CalibrationStream::bytes(const std::vector<CalibrationSequence>& sequences,
                                 int64_t hidden) {
  int64_t tokens = 0;
  for (const CalibrationSequence& s : sequences) tokens += static_cast<int64_t>(s.ids.size());
  return tokens * hidden * static_cast<int64_t>(sizeof(float));
}

void CalibrationStream::observe(const std::shared_ptr<const Checkpoint>& checkpoint,
                                LinearObserver& observer,
                                Probe* probe) {
  run(checkpoint, {&observer, probe}, false);
}

void CalibrationStream::advance(const std::shared_ptr<const Checkpoint>& checkpoint) {
  if (layer_ + 1 < layers_) run(checkpoint, {}, true);
  ++layer_;
}

size_t CalibrationStream::step_end(size_t begin) const {
  size_t end = begin + 1, tokens = sequences_[begin].ids.size();
  for (; end < sequences_.size(); ++end) {
    tokens += sequences_[end].ids.size();
    if (static_cast<int64_t>(tokens) > step_tokens_) break;
  }
  return end;
}

// An expert is in memory while tokens go through it, and no longer.
void CalibrationStream::run(const std::shared_ptr<const Checkpoint>& checkpoint,
                            const Eyes& eyes,
                            bool keeps) {
  Tape tape(layer_, layers_);
  Ctx ctx = ctx_;
  ctx.stages = layers_ > 1 ? &tape : nullptr;
  const std::unique_ptr<Model> model = make_model(Builder(
      checkpoint,
      ctx,
      {},
      {.expert_memory_bytes = 0, .observer = eyes.observer, .stage = Shard(layer_, layers_)}));
  const auto hidden = static_cast<size_t>(model->info().hidden_size);
  for (size_t begin = 0, end = 0; begin < sequences_.size(); begin = end) {
    end = step_end(begin);
    const auto some = std::span(sequences_).subspan(begin, end - begin);
    Batch batch = batch_of(some, model->info().rope_axes);
    if (layer_ == 0) add_pictures(ctx, *model, some, batch);
    KvCache kv(model->kv_spec(),
               batch.blocks_per_row * static_cast<int32_t>(end - begin),
               kBlockSize,
               ctx.device);
    tape.input.clear();
    for (size_t i = begin; i < end; ++i)
      tape.input.insert(tape.input.end(), states_[i].begin(), states_[i].end());
    (void)model->forward(ctx, batch, kv, eyes.probe);
    if (!keeps) continue;
    auto from = tape.output.begin();
    for (size_t i = begin; i < end; ++i) {
      const auto count = static_cast<int64_t>(sequences_[i].ids.size() * hidden);
      states_[i].assign(from, from + count);
      from += count;
    }
  }
}

}  // namespace quern
