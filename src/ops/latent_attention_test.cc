// SPDX-License-Identifier: Apache-2.0
// Latent attention: every tier against plain sums over the rows, and a row's bits whatever its
// company, chunk, blocks and threads.
#include <cmath>

#include "ops/attention.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

struct Sizes {
  int64_t heads, rope, value;
  int64_t row() const { return rope + value; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(row())); }
};

// Rows by position and the queries of all positions.
struct Conversation {
  Tensor rope_key, latent, q;  // [context, R], [context, V], [context, H, R + V]
};

Conversation conversation(const Sizes& s, int64_t context, uint32_t seed) {
  return {random_tensor({context, s.rope}, seed),
          random_tensor({context, s.value}, seed + 1),
          random_tensor({context, s.heads, s.row()}, seed + 2, 2.0f)};
}

// A member of a batch: the last `rows` positions of the first `context`.
struct Member {
  const Conversation* of;
  int64_t context, rows;
};

Tensor step(Ctx& ctx,
            const Sizes& sizes,
            std::span<const Member> members,
            int64_t block_size,
            DType cache) {
  int64_t longest = 1, rows = 0;
  for (const Member& m : members) longest = std::max(longest, m.context), rows += m.rows;
  const int64_t per_row = (longest + block_size - 1) / block_size + 1;
  const auto count = static_cast<int64_t>(members.size());
  PagedKv kv{Tensor::zeros({count * per_row, 1, block_size, sizes.row()}, cache), {}};
  if (bits_of(cache) == 8) kv.k_scale = Tensor::zeros({count * per_row, 1, block_size}, DType::f32);
  // What lies beyond a context is never read: rubbish there must not show.
  for (const Tensor* t : {&kv.k, &kv.k_scale})
    if (t->defined()) std::memset(t->raw(), 0xff, static_cast<size_t>(t->bytes()));
  std::vector<int32_t> tables(static_cast<size_t>(count * per_row), -1), offsets{0}, contexts;
  Tensor q = Tensor::empty({rows, sizes.heads, sizes.row()}, DType::f32);
  for (int64_t s = 0, at = 0; s < count; ++s) {
    const Member& m = members[static_cast<size_t>(s)];
    std::vector<int32_t> slots;
    for (int64_t b = 0; b * block_size < m.context; ++b)
      tables[static_cast<size_t>(s * per_row + b)] =
          static_cast<int32_t>(count * per_row - 1 - b * count - s);
    for (int64_t p = 0; p < m.context; ++p)
      slots.push_back(static_cast<int32_t>(
          tables[static_cast<size_t>(s * per_row + p / block_size)] * block_size + p % block_size));
    store_latent_(
        ctx, m.of->rope_key.slice(0, 0, m.context), m.of->latent.slice(0, 0, m.context), kv, slots);
    std::ranges::copy(m.of->q.slice(0, m.context - m.rows, m.context).span<float>(),
                      q.data<float>() + at * sizes.heads * sizes.row());
    at += m.rows;
    offsets.push_back(static_cast<int32_t>(at));
    contexts.push_back(static_cast<int32_t>(m.context));
  }
  return latent_attention(ctx,
                          q,
                          kv,
                          {offsets, contexts, tables, static_cast<int32_t>(per_row)},
                          sizes.scale(),
                          sizes.value);
}

// Of the last position of a conversation, in double.
std::vector<float> by_hand(const Sizes& s, const Conversation& c) {
  const int64_t context = c.latent.dim(0);
  std::vector<float> out;
  for (int64_t h = 0; h < s.heads; ++h) {
    const float* q = c.q.data<float>() + ((context - 1) * s.heads + h) * s.row();
    std::vector<double> sums(static_cast<size_t>(s.value));
    double total = 0;
    for (int64_t j = 0; j < context; ++j) {
      double dot = 0;
      for (int64_t e = 0; e < s.rope; ++e)
        dot += double{q[e]} * c.rope_key.data<float>()[j * s.rope + e];
      const float* latent = c.latent.data<float>() + j * s.value;
      for (int64_t e = 0; e < s.value; ++e) dot += double{q[s.rope + e]} * latent[e];
      const double weight = std::exp(dot * s.scale());
      total += weight;
      for (int64_t e = 0; e < s.value; ++e) sums[static_cast<size_t>(e)] += weight * latent[e];
    }
    for (const double sum : sums) out.push_back(static_cast<float>(sum / total));
  }
  return out;
}

constexpr Sizes kSizes[] = {
    {4, 16, 32}, {1, 2, 3}, {7, 8, 33}, {20, 64, 192}, {64, 64, 512}, {3, 40, 600}, {13, 96, 541}};

TEST(LatentAttention, EveryTierAgreesWithSumsByHand) {
  for (const Sizes& sizes : kSizes)
    for (const int64_t context : {1, 3, 70, 300}) {
      const Conversation a = conversation(sizes, context, 1);
      const std::vector<float> expected = by_hand(sizes, a);
      const Member member{&a, context, 1};
      for (const Isa isa : all_tiers()) {
        Machine m(isa);
        const Tensor y = step(m.ctx, sizes, {&member, 1}, 16, DType::f32);
        ASSERT_EQ(y.shape(), Shape({1, sizes.heads * sizes.value}));
        // A score is a sum of R + V products of a few units.
        for (size_t i = 0; i < expected.size(); ++i)
          ASSERT_NEAR(y.data<float>()[i], expected[i], 2e-5)
              << name_of(isa) << " row " << sizes.row() << " context " << context << " at " << i;
      }
    }
}

TEST(LatentAttention, EveryTierAgreesWithThePlainLoopsForEveryCache) {
  for (const Sizes& sizes : {kSizes[0], kSizes[2], kSizes[3]})
    for (const DType cache : {DType::bf16, DType::f16, DType::i8, DType::f8_e4m3}) {
      const Conversation a = conversation(sizes, 70, 1), b = conversation(sizes, 300, 4);
      const Member members[] = {{&a, 70, 33}, {&b, 300, 3}, {&a, 1, 1}};
      Machine plain(Isa::scalar);
      const Tensor expected = step(plain.ctx, sizes, members, 16, cache);
      for (const Isa isa : fast_tiers()) {
        Machine fast(isa);
        const Tensor y = step(fast.ctx, sizes, members, 16, cache);
        for (int64_t i = 0; i < y.numel(); ++i)
          ASSERT_NEAR(y.data<float>()[i], expected.data<float>()[i], 2e-5)
              << name_of(isa) << " " << name_of(cache) << " at " << i;
      }
    }
}

TEST(LatentAttention, ARowHasTheSameBitsWhateverChunkBlockCompanyAndThread) {
  for (const Sizes& sizes : {kSizes[0], kSizes[3], kSizes[6]}) {
    const Conversation a = conversation(sizes, 600, 1), b = conversation(sizes, 90, 4);
    for (const Isa isa : fast_tiers())
      for (const DType cache : {DType::f32, DType::bf16, DType::i8}) {
        Machine one(isa, 1), three(isa, 3);
        const Member whole{&a, 600, 600};
        const Tensor all = step(three.ctx, sizes, {&whole, 1}, 16, cache);
        for (const int64_t block_size : {1, 7, 16}) {
          Ctx& ctx = block_size % 2 == 0 ? one.ctx : three.ctx;
          for (const Member& m : {Member{&a, 1, 1},
                                  Member{&a, 65, 2},
                                  Member{&a, 257, 1},
                                  Member{&a, 512, 40},
                                  Member{&a, 600, 1}}) {
            const Member batch[] = {{&b, 90, 5}, m, {&b, 17, 1}};
            const Tensor y = step(ctx, sizes, batch, block_size, cache);
            ASSERT_TRUE(
                same_bits(y.slice(0, 5, 5 + m.rows), all.slice(0, m.context - m.rows, m.context)))
                << name_of(isa) << " row " << sizes.row() << " block " << block_size << " context "
                << m.context << " rows " << m.rows;
          }
        }
      }
  }
}

TEST(LatentAttention, MetaTakesTheScratchOfARun) {
  const Sizes sizes = kSizes[4];
  const Conversation a = conversation(sizes, 300, 1);
  const Member member{&a, 300, 2};
  for (const Isa isa : all_tiers()) {
    Machine real(isa, 2);
    MetaMachine meta(isa);
    step(real.ctx, sizes, {&member, 1}, 16, DType::f32);
    const std::vector<int32_t> offsets{0, 2}, contexts{300}, table(20, 0);
    latent_attention(meta.ctx,
                     Tensor::empty({2, sizes.heads, sizes.row()}, DType::f32, Device::meta()),
                     {Tensor::empty({20, 1, 16, sizes.row()}, DType::f32, Device::meta()), {}},
                     {offsets, contexts, table, 20},
                     1,
                     sizes.value);
    EXPECT_EQ(real.arena->peak_bytes(), meta.arena->peak_bytes()) << name_of(isa);
  }
}

}  // namespace
}  // namespace quern::ops
