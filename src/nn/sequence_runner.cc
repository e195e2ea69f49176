// SPDX-License-Identifier: Apache-2.0
#include "nn/sequence_runner.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"

namespace quern {
namespace {

int64_t blocks_for(int64_t tokens, int block_size) {
  return (tokens + block_size - 1) / block_size;
}

// The rows of `media` that fall on `tokens`, placed relative to the first of these.
void add_media(Batch& batch, const MediaRows& media, Range tokens) {
  const int64_t begin = std::max<int64_t>(media.first_row, tokens.begin);
  const int64_t end = std::min<int64_t>(media.first_row + media.rows.dim(0), tokens.end);
  if (begin >= end) return;
  batch.media.push_back({static_cast<int32_t>(begin - tokens.begin),
                         media.rows.slice(0, begin - media.first_row, end - media.first_row)});
}

KvSpec spec_of(const Model& model, DType kv_dtype) {
  KvSpec spec = model.kv_spec();
  spec.dtype = kv_dtype;
  return spec;
}

}  // namespace

SequenceRunner::SequenceRunner(
    const Model& model, const Ctx& ctx, int64_t max_tokens, int block_size, DType kv_dtype)
    : model_(model),
      ctx_(ctx),
      kv_(spec_of(model, kv_dtype), blocks_for(max_tokens, block_size), block_size, ctx.device),
      max_tokens_(max_tokens) {}

// Blocks are handed out from the last to the first, so that ids and indices of blocks never agree
// by luck.
void SequenceRunner::place(Batch& batch, int64_t count) const {
  const int64_t last = kv_.num_blocks() - 1, size = kv_.block_size();
  const int64_t end = length_ + count;
  batch.block_size = kv_.block_size();
  batch.blocks_per_row = static_cast<int32_t>(blocks_for(end, kv_.block_size()));
  for (int64_t i = 0; i < batch.blocks_per_row; ++i)
    batch.block_tables.push_back(static_cast<int32_t>(last - i));
  for (int64_t t = length_; t < end; ++t)
    batch.slots.push_back(static_cast<int32_t>((last - t / size) * size + t % size));
  batch.offsets = {0, static_cast<int32_t>(count)};
  batch.context_lengths = {static_cast<int32_t>(end)};
}

Tensor SequenceRunner::step(const SequenceInput& input,
                            Range tokens,
                            std::span<const int32_t> sample_rows,
                            Probe* probe) {
  Batch batch;
  const auto begin = static_cast<size_t>(tokens.begin), count = static_cast<size_t>(tokens.size());
  const auto all = input.ids.size();
  batch.tokens.assign(input.ids.begin() + tokens.begin, input.ids.begin() + tokens.end);
  batch.axes = input.axes;
  for (size_t axis = 0; axis < static_cast<size_t>(input.axes); ++axis) {
    const auto row = input.positions.subspan(axis * all + begin, count);
    batch.positions.insert(batch.positions.end(), row.begin(), row.end());
  }
  place(batch, tokens.size());
  for (const int32_t row : sample_rows)
    batch.sample_rows.push_back(row - static_cast<int32_t>(tokens.begin));
  for (const MediaRows& media : input.media) add_media(batch, media, tokens);
  Tensor logits = model_.forward(ctx_, batch, kv_, probe);
  length_ += tokens.size();
  return logits;
}

Tensor SequenceRunner::prefill(const SequenceInput& input,
                               std::span<const int32_t> sample_rows,
                               int64_t chunk,
                               Probe* probe) {
  const auto total = static_cast<int64_t>(input.ids.size());
  if (length_ + total > max_tokens_)
    fail(ErrorCode::exhausted,
         "{} tokens after {}: there is room for {}",
         total,
         length_,
         max_tokens_);
  QUERN_CHECK(std::ranges::is_sorted(sample_rows));
  SequenceInput placed = input;
  std::vector<int32_t> counted;
  if (input.positions.empty()) {
    counted.resize(input.ids.size());
    std::iota(counted.begin(), counted.end(), static_cast<int32_t>(length_));
    placed.positions = counted;
    placed.axes = 1;
  }
  QUERN_CHECK(placed.positions.size() == placed.ids.size() * static_cast<size_t>(placed.axes));
  Tensor out = Tensor::empty({static_cast<int64_t>(sample_rows.size()), model_.info().row_values()},
                             DType::f32,
                             ctx_.device);
  int64_t done = 0;
  for (int64_t begin = 0; begin < total;) {
    const int64_t end = chunk > 0 ? std::min(begin + chunk, total) : total;
    const auto* last =
        std::lower_bound(sample_rows.data() + done, sample_rows.data() + sample_rows.size(), end);
    const auto rows = sample_rows.subspan(static_cast<size_t>(done),
                                          static_cast<size_t>(last - sample_rows.data() - done));
    const Tensor logits = step(placed, {begin, end}, rows, probe);
    if (out.raw() != nullptr && logits.numel() > 0)
      std::memcpy(
          out.data<float>() + done * out.dim(1), logits.raw(), static_cast<size_t>(logits.bytes()));
    done += static_cast<int64_t>(rows.size());
    begin = end;
  }
  return out;
}

Tensor SequenceRunner::decode(int32_t token, int32_t position, Probe* probe) {
  const int32_t row = 0;
  return prefill({.ids = {&token, 1}, .positions = {&position, 1}, .axes = 1, .media = {}},
                 {&row, 1},
                 0,
                 probe);
}

}  // namespace quern
