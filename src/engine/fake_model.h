// SPDX-License-Identifier: Apache-2.0
// FakeModel: for tests. Its logits are a hash of everything that the sequence's own blocks hold,
// read through the block table: a wrong slot, table, position, media row or an evicted block shows
// in every later token.
#pragma once

#include <atomic>
#include <bit>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "nn/model.h"

namespace quern {

class FakeModel : public Model {
 public:
  static constexpr int kVocab = 97;
  static constexpr int32_t kImageToken = 90, kNanToken = 91;

  FakeModel() {
    info_.architecture = "Fake";
    info_.vocab_size = kVocab;
    info_.rope_axes = 3;
    info_.has_vision = true;
    info_.image_token = kImageToken;
  }

  const ModelInfo& info() const override { return info_; }
  KvSpec kv_spec() const override {
    KvSpec spec;
    spec.groups = {{.kind = KvKind::paged, .layers = 1, .kv_heads = 1, .head_size = 1}};
    return spec;
  }
  int64_t weight_bytes() const override { return 1000; }

  Tensor encode(Ctx& ctx, const MediaInput& media, Probe*) const override {
    ++encoded;
    if (media.values.empty()) fail(ErrorCode::invalid_argument, "fake: a medium without values");
    const Tensor rows = ctx.empty({media.tokens, 1});
    for (int64_t i = 0; i < media.tokens && !ctx.device.is_meta(); ++i)
      rows.data<float>()[i] = media.values[0] + static_cast<float>(i);
    return rows;
  }

  Tensor forward(Ctx& ctx, const Batch& batch, KvCache& kv, Probe*) const override {
    ++steps;
    if (before_forward) before_forward(batch);
    const Tensor logits =
        ctx.empty({static_cast<int64_t>(batch.sample_rows.size()), info_.vocab_size});
    if (ctx.device.is_meta()) return logits;
    store(batch, kv);
    size_t next = 0;
    for (int64_t s = 0; s < batch.sequence_count(); ++s)
      for (; next < batch.sample_rows.size() &&
             batch.sample_rows[next] < batch.offsets[static_cast<size_t>(s) + 1];
           ++next)
        write_row(batch,
                  s,
                  batch.sample_rows[next],
                  kv,
                  logits.data<float>() + static_cast<int64_t>(next) * kVocab);
    return logits;
  }

  std::function<void(const Batch&)> before_forward;
  std::atomic<float> poison = std::numeric_limits<float>::quiet_NaN();  // of kNanToken's row
  mutable std::atomic<int> encoded = 0, steps = 0;

 private:
  // K: the token or its media row; V: its positions.
  static void store(const Batch& batch, KvCache& kv) {
    const auto count = static_cast<size_t>(batch.token_count());
    float* k = kv.layer(0).k.data<float>();
    float* v = kv.layer(0).v.data<float>();
    for (size_t t = 0; t < count; ++t) {
      uint64_t place = 0;
      for (size_t axis = 0; axis < 3; ++axis)
        place = mix_bits(
            place +
            static_cast<uint64_t>(
                batch.positions[(axis < static_cast<size_t>(batch.axes) ? axis : 0) * count + t]));
      k[batch.slots[t]] = static_cast<float>(batch.tokens[t]);
      v[batch.slots[t]] = static_cast<float>(place >> 44);
    }
    for (const MediaRows& m : batch.media)
      for (int64_t i = 0; i < m.rows.dim(0); ++i)
        k[batch.slots[static_cast<size_t>(m.first_row + i)]] = 1000 + m.rows.data<float>()[i];
  }

  void write_row(const Batch& batch, int64_t s, int32_t row, KvCache& kv, float* logits) const {
    const int32_t seen = batch.context_lengths[static_cast<size_t>(s)] -
                         (batch.offsets[static_cast<size_t>(s) + 1] - 1 - row);
    const int32_t* table = batch.block_tables.data() + s * batch.blocks_per_row;
    uint64_t hash = 1;
    for (int32_t i = 0; i < seen; ++i) {
      const int64_t slot =
          int64_t{table[i / batch.block_size]} * batch.block_size + i % batch.block_size;
      const auto k = std::bit_cast<uint32_t>(kv.layer(0).k.data<float>()[slot]);
      const auto v = std::bit_cast<uint32_t>(kv.layer(0).v.data<float>()[slot]);
      hash = mix_bits(hash ^ (uint64_t{k} << 32 | v));
    }
    for (int i = 0; i < kVocab; ++i)
      logits[i] = static_cast<float>(mix_bits(hash + static_cast<uint64_t>(i)) >> 40) / (1 << 21);
    // The placeholders never come out by chance.
    logits[kImageToken] = logits[kNanToken] = -10;
    if (batch.tokens[static_cast<size_t>(row)] == kNanToken) logits[0] = poison;
  }

  ModelInfo info_;
};

}  // namespace quern
