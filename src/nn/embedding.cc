// SPDX-License-Identifier: Apache-2.0
#include "nn/embedding.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "nn/ranks.h"
#include "ops/matmul.h"

namespace quern {

Embedding::Embedding(const Builder& b, std::string_view name, int64_t vocab, int64_t hidden)
    : table_(b.table(name, {vocab, {b.shard().range(vocab)}}, hidden)),
      vocab_(vocab),
      hidden_(hidden),
      part_(b.shard().range(vocab)),
      shard_(b.shard()) {}

Tensor Embedding::look_up(Ctx& ctx, std::span<const int32_t> ids) const {
  if (table_.floats().defined()) return ops::embedding(ctx, ids, table_.floats());
  Tensor out = ctx.empty({static_cast<int64_t>(ids.size()), hidden_});
  if (ctx.device.is_meta()) return out;
  ctx.pool->parallel_for(out.dim(0), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const Tensor row = table_.row(ids[static_cast<size_t>(t)]);
      std::ranges::copy(row.span<float>(), out.data<float>() + t * hidden_);
    }
  });
  return out;
}

Tensor Embedding::operator()(Ctx& ctx, std::span<const int32_t> ids) const {
  for (const int32_t id : ids)
    if (id < 0 || id >= vocab_)
      fail(ErrorCode::invalid_argument, "token id {}: the vocabulary has {}", id, vocab_);
  if (shard_.size() == 1) return look_up(ctx, ids);
  // Rows of other ranks' words are zero here and come with the sum.
  Tensor out = ctx.empty({static_cast<int64_t>(ids.size()), hidden_});
  if (!ctx.device.is_meta()) {
    std::ranges::fill(out.span<float>(), 0.0f);
    for (size_t t = 0; t < ids.size(); ++t) {
      if (ids[t] < part_.begin || ids[t] >= part_.end) continue;
      const int32_t local = ids[t] - static_cast<int32_t>(part_.begin);
      const Tensor row = look_up(ctx, {&local, 1});
      std::ranges::copy(row.span<float>(), out.data<float>() + static_cast<int64_t>(t) * hidden_);
    }
  }
  all_reduce_(ctx, out, shard_);
  return out;
}

LmHead::LmHead(const Builder& b, std::string_view name, int64_t vocab, int64_t hidden, Bias bias)
    : linear_(b.head(name, {vocab, {b.shard().range(vocab)}}, hidden, bias)),
      vocab_(vocab),
      shard_(b.shard()) {}

Tensor LmHead::operator()(Ctx& ctx, const Tensor& h) const {
  return gather(ctx, linear_(ctx, h), shard_, vocab_);
}

ScoreHead::ScoreHead(const Builder& b, std::string_view name, int64_t labels, int64_t hidden)
    : labels_(labels), hidden_(hidden) {
  const Table table = b.table(name, Cut::whole(labels), hidden);
  if (b.ctx().device.is_meta()) return;
  weights_ = Tensor::empty({labels, hidden}, DType::f32, b.ctx().device);
  for (int64_t r = 0; r < labels; ++r) {
    const Tensor row = table.row(r);
    std::ranges::copy(row.span<float>(), weights_.data<float>() + r * hidden);
  }
}

// Sums in the order of the inputs, so that a row is the same in any company.
Tensor ScoreHead::operator()(Ctx& ctx, const Tensor& h) const {
  Tensor out = ctx.empty({h.dim(0), labels_});
  if (ctx.device.is_meta()) return out;
  const auto n = static_cast<size_t>(hidden_);
  for (int64_t t = 0; t < h.dim(0); ++t)
    for (int64_t r = 0; r < labels_; ++r) {
      const float* x = h.data<float>() + t * hidden_;
      const float* w = weights_.data<float>() + r * hidden_;
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += double{x[i]} * double{w[i]};
      out.data<float>()[t * labels_ + r] = static_cast<float>(sum);
    }
  return out;
}

}  // namespace quern
