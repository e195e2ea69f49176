// SPDX-License-Identifier: Apache-2.0
// Attention: every tier against the plain loops, and the promise that a query row's bits depend on
// its own sequence alone.
#include "ops/attention.h"

#include <cmath>
#include <limits>

#include "ops/kv_rows.h"
#include "ops/test_machine.h"

namespace quern::ops {
namespace {

struct Heads {
  int64_t q, kv, size;
};

// One sequence: its keys and values by position, and the queries of the last rows.
struct Conversation {
  Tensor k, v, q;  // [context, G, E], [context, G, E], [rows, H, E]
};

Conversation conversation(const Heads& heads, int64_t context, uint32_t seed) {
  return {random_tensor({context, heads.kv, heads.size}, seed),
          random_tensor({context, heads.kv, heads.size}, seed + 1),
          random_tensor({context, heads.q, heads.size}, seed + 2, 2.0f)};
}

// A member of a batch: the last `rows` positions of the first `context` of a conversation.
struct Member {
  const Conversation* of;
  int64_t context, rows;
};

// What of a cache the rows see.
struct Sight {
  int32_t first_key = 0;
  bool is_causal = true;
};

constexpr DType kCaches[] = {DType::f32, DType::bf16, DType::f16, DType::i8, DType::f8_e4m3};

// Lays the members' keys out in scattered, descending blocks, runs one step and returns its rows.
Tensor step(Ctx& ctx,
            const Heads& heads,
            std::span<const Member> members,
            int64_t block_size,
            DType cache,
            const Sight& sight = {}) {
  int64_t longest = 1, rows = 0;
  for (const Member& m : members) longest = std::max(longest, m.context), rows += m.rows;
  const int64_t per_row = (longest + block_size - 1) / block_size + 1;
  const auto count = static_cast<int64_t>(members.size());
  const Shape shape{count * per_row, heads.kv, block_size, heads.size};
  PagedKv kv{Tensor::zeros(shape, cache), Tensor::zeros(shape, cache)};
  if (bits_of(cache) == 8)
    for (Tensor* scale : {&kv.k_scale, &kv.v_scale})
      *scale = Tensor::zeros({count * per_row, heads.kv, block_size}, DType::f32);
  // What lies beyond a context is never read: rubbish there must not show.
  for (const Tensor* t : {&kv.k, &kv.v, &kv.k_scale, &kv.v_scale})
    if (t->defined()) std::memset(t->raw(), 0xff, static_cast<size_t>(t->bytes()));
  std::vector<int32_t> tables(static_cast<size_t>(count * per_row), -1), offsets{0}, contexts;
  Tensor q = Tensor::empty({rows, heads.q, heads.size}, DType::f32);
  for (int64_t s = 0, at = 0; s < count; ++s) {
    const Member& m = members[static_cast<size_t>(s)];
    for (int64_t b = 0; b * block_size < m.context; ++b)
      tables[static_cast<size_t>(s * per_row + b)] =
          static_cast<int32_t>(count * per_row - 1 - b * count - s);
    std::vector<int32_t> slots;
    for (int64_t p = 0; p < m.context; ++p)
      slots.push_back(static_cast<int32_t>(
          tables[static_cast<size_t>(s * per_row + p / block_size)] * block_size + p % block_size));
    store_kv_(ctx, m.of->k.slice(0, 0, m.context), m.of->v.slice(0, 0, m.context), kv, slots);
    const auto source = m.of->q.slice(0, m.context - m.rows, m.context).span<float>();
    std::ranges::copy(source, q.data<float>() + at * heads.q * heads.size);
    at += m.rows;
    offsets.push_back(static_cast<int32_t>(at));
    contexts.push_back(static_cast<int32_t>(m.context));
  }
  const float scale = 1 / std::sqrt(static_cast<float>(heads.size));
  const PagedBatch batch{.offsets = offsets,
                         .context_lengths = contexts,
                         .block_tables = tables,
                         .blocks_per_row = static_cast<int32_t>(per_row),
                         .first_key = sight.first_key,
                         .is_causal = sight.is_causal};
  return paged_attention(ctx, q, kv, batch, scale);
}

// Scores are sums of E products and spread over a few units, so exp carries an error of a few E
// roundings times the score; the sum over keys is taken in tiles. 1e-5 of the value range bounds
// both at these sizes.
constexpr float kBound = 1e-5f;

void expect_close(const Tensor& got, const Tensor& expected, float bound, const std::string& what) {
  ASSERT_EQ(got.shape(), expected.shape());
  for (int64_t i = 0; i < got.numel(); ++i)
    ASSERT_NEAR(got.data<float>()[i], expected.data<float>()[i], bound) << what << " at " << i;
}

// With v, p, q and k in bf16, values of up to 4 and scores of up to 4 move by 2^-9 of themselves
// each.
float bound_of(Isa isa, Activation activation) {
  return activation != Activation::f32 && isa >= Isa::avx512_bf16 ? 0x1p-5f : kBound;
}

TEST(PagedAttention, EveryTierAgreesWithThePlainLoops) {
  for (const Heads heads : {Heads{2, 2, 1},
                            Heads{3, 1, 16},
                            Heads{6, 2, 20},
                            Heads{4, 2, 64},
                            Heads{6, 1, 128},
                            Heads{28, 4, 33},
                            Heads{2, 1, 256}})
    for (const DType cache : kCaches) {
      const Conversation a = conversation(heads, 70, 1), b = conversation(heads, 530, 4),
                         c = conversation(heads, 1, 7);
      const Member members[] = {{&a, 70, 33}, {&b, 530, 3}, {&c, 1, 1}, {&b, 270, 12}};
      Machine plain(Isa::scalar);
      const Tensor expected = step(plain.ctx, heads, members, 16, cache);
      for (const Activation activation : {Activation::f32, Activation::bf16, Activation::int8})
        for (const Isa isa : fast_tiers()) {
          Machine fast(isa, 2, activation);
          expect_close(step(fast.ctx, heads, members, 16, cache),
                       expected,
                       bound_of(isa, activation),
                       quern::format("{} E {}", name_of(isa), heads.size));
        }
    }
}

TEST(PagedAttention, EveryTierAgreesOnWhatIsSeen) {
  const Heads heads{6, 2, 20};
  const Conversation a = conversation(heads, 70, 1), b = conversation(heads, 530, 4);
  const Member members[] = {{&a, 70, 3}, {&b, 530, 90}};
  for (const Sight sight : {Sight{40, true}, Sight{0, false}, Sight{13, false}}) {
    Machine plain(Isa::scalar);
    const Tensor expected = step(plain.ctx, heads, members, 16, DType::f32, sight);
    for (const Isa isa : fast_tiers()) {
      Machine fast(isa, 2);
      expect_close(step(fast.ctx, heads, members, 16, DType::f32, sight),
                   expected,
                   kBound,
                   quern::format("{} from {}", name_of(isa), sight.first_key));
    }
  }
}

TEST(PagedAttention, OneKeyGivesItsValue) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Heads heads{2, 1, 24};
    const Conversation a = conversation(heads, 1, 1);
    const Member member{&a, 1, 1};
    const Tensor y = step(m.ctx, heads, {&member, 1}, 4, DType::f32);
    for (int64_t h = 0; h < 2; ++h)
      EXPECT_TRUE(same_bits(y.slice(1, h * 24, (h + 1) * 24), a.v.reshape({1, 24})));
  }
}

// The machine's tiers in both modes that attend with kernels of their own.
struct Mode {
  Isa isa;
  Activation activation;
};
std::vector<Mode> fast_modes() {
  std::vector<Mode> out;
  for (const Isa isa : fast_tiers()) out.push_back({isa, Activation::f32});
  if (probe_topology().isa >= Isa::avx512_bf16) out.push_back({Isa::avx512_bf16, Activation::bf16});
  return out;
}

// Keys before first_key might as well not be there.
TEST(PagedAttention, SeesFromTheFirstKeyOn) {
  const Heads heads{6, 2, 40};
  const Conversation a = conversation(heads, 600, 1);
  const auto from = [](const Tensor& t, int64_t first) { return t.slice(0, first, t.dim(0)); };
  for (const int64_t first : {1, 16, 100, 300}) {
    const Conversation rest{from(a.k, first), from(a.v, first), from(a.q, first)};
    for (const Mode mode : fast_modes())
      for (const int64_t rows : {1, 5, 200}) {
        Machine m(mode.isa, 2, mode.activation);
        const Member whole{&a, 600, rows}, alone{&rest, 600 - first, rows};
        EXPECT_TRUE(same_bits(
            step(m.ctx, heads, {&whole, 1}, 16, DType::f32, {static_cast<int32_t>(first)}),
            step(m.ctx, heads, {&alone, 1}, 16, DType::f32)))
            << name_of(mode.isa) << " from " << first << ", rows " << rows;
      }
  }
}

// Cross-attention: every row sees what the last row of a causal batch sees.
TEST(PagedAttention, RowsThatAreNotCausalSeeEveryKey) {
  const Heads heads{4, 4, 24};
  const Conversation a = conversation(heads, 530, 1);
  for (const Mode mode : fast_modes()) {
    Machine m(mode.isa, 2, mode.activation);
    for (const int64_t rows : {3, 150}) {
      const Member batch[] = {{&a, 17, 1}, {&a, 530, rows}};
      const Tensor y = step(m.ctx, heads, batch, 16, DType::f32, {.is_causal = false});
      for (const int64_t row : {int64_t{0}, rows / 2, rows - 1}) {
        Conversation moved{a.k, a.v, Tensor::empty(a.q.shape(), DType::f32)};
        std::ranges::copy(a.q.slice(0, 530 - rows + row, 530 - rows + row + 1).span<float>(),
                          moved.q.slice(0, 529, 530).span<float>().begin());
        const Member last{&moved, 530, 1};
        EXPECT_TRUE(
            same_bits(y.slice(0, 1 + row, 2 + row), step(m.ctx, heads, {&last, 1}, 16, DType::f32)))
            << name_of(mode.isa) << " row " << row << " of " << rows;
      }
    }
  }
}

TEST(PagedAttention, ARowHasTheSameBitsWhateverChunkBlockCompanyAndThread) {
  for (const Heads heads : {Heads{6, 2, 40}, Heads{7, 1, 128}, Heads{3, 3, 33}}) {
    const Conversation a = conversation(heads, 1100, 1), b = conversation(heads, 300, 4);
    for (const Mode mode : fast_modes())
      for (const DType cache : kCaches) {
        Machine one(mode.isa, 1, mode.activation), three(mode.isa, 3, mode.activation);
        const Member whole{&a, 1100, 1100};
        const Tensor all = step(three.ctx, heads, {&whole, 1}, 16, cache);
        for (const int64_t block_size : {1, 7, 16, 100}) {
          Ctx& ctx = block_size % 2 == 0 ? one.ctx : three.ctx;
          for (const Member& m : {Member{&a, 1, 1},
                                  Member{&a, 64, 1},
                                  Member{&a, 65, 2},
                                  Member{&a, 256, 3},
                                  Member{&a, 257, 1},
                                  Member{&a, 700, 191},
                                  Member{&a, 1024, 12},
                                  Member{&a, 1025, 1},
                                  Member{&a, 1100, 1}}) {
            const Member batch[] = {{&b, 300, 5}, m, {&b, 17, 1}};
            const Tensor y = step(ctx, heads, batch, block_size, cache);
            ASSERT_TRUE(
                same_bits(y.slice(0, 5, 5 + m.rows), all.slice(0, m.context - m.rows, m.context)))
                << name_of(mode.isa) << " block " << block_size << " context " << m.context
                << " rows " << m.rows;
          }
        }
      }
  }
}

// Every position once as a step of its own and once in a step of `rows`, around the ends of splits.
TEST(PagedAttention, DecodingAndPrefillingAPositionGiveTheSameBits) {
  const Heads heads{6, 1, 72};
  const Conversation a = conversation(heads, 530, 1);
  for (const Mode mode : fast_modes()) {
    Machine m(mode.isa, 2, mode.activation);
    const Member whole{&a, 530, 530};
    const Tensor all = step(m.ctx, heads, {&whole, 1}, 16, DType::bf16);
    for (int64_t rows = 1; rows <= 130; rows += rows < 20 ? 1 : 11)
      for (const int64_t context : {130, 256, 257, 271, 512, 513, 530}) {
        const Member member{&a, context, rows};
        ASSERT_TRUE(same_bits(step(m.ctx, heads, {&member, 1}, 32, DType::bf16),
                              all.slice(0, context - rows, context)))
            << name_of(mode.isa) << " context " << context << " rows " << rows;
      }
  }
}

// Keys that outweigh all others must not reach the rows before them.
TEST(PagedAttention, ARowDoesNotFeelLaterKeys) {
  const Heads heads{2, 1, 40};
  Conversation a = conversation(heads, 300, 1);
  const Conversation plain = conversation(heads, 300, 1);
  for (float& k : a.k.slice(0, 290, 300).span<float>()) k *= 1e6f;
  for (const Mode mode : fast_modes()) {
    Machine m(mode.isa, 2, mode.activation);
    const Member changed{&a, 300, 300}, whole{&plain, 300, 300};
    const Tensor x = step(m.ctx, heads, {&changed, 1}, 16, DType::f32),
                 y = step(m.ctx, heads, {&whole, 1}, 16, DType::f32);
    EXPECT_TRUE(same_bits(x.slice(0, 0, 290), y.slice(0, 0, 290))) << name_of(mode.isa);
    EXPECT_FALSE(same_bits(x.slice(0, 290, 300), y.slice(0, 290, 300)));
  }
}

TEST(PagedAttention, SkipsNegativeSlots) {
  Machine m(Isa::scalar);
  PagedKv kv{Tensor::zeros({1, 1, 2, 2}, DType::f32), Tensor::zeros({1, 1, 2, 2}, DType::f32)};
  const Tensor k = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 1, 2});
  const int32_t slots[] = {-1, 1};
  store_kv_(m.ctx, k, k, kv, slots);
  EXPECT_TRUE(same_bits(kv.k, Tensor::from(std::vector<float>{0, 0, 3, 4}, {4})));
}

// What a cache of 8 bits gives back: each element within half a step of the row's largest (int8),
// or within 2^-4 of itself and half the smallest step (e4m3); and rows of zeros, tiny and no
// numbers.
TEST(PagedAttention, CodesOf8BitsStayNearTheirNumbers) {
  constexpr int64_t kSize = 37;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Tensor x = random_tensor({6, 1, kSize}, 3, 2.0f);
  for (float& value : x.slice(0, 1, 2).span<float>()) value = 0;
  for (float& value : x.slice(0, 2, 3).span<float>()) value *= 1e-42f;
  for (float& value : x.slice(0, 3, 4).span<float>()) value *= 1e30f;
  x.data<float>()[4 * kSize + 5] = nan;
  x.data<float>()[5 * kSize + 6] = std::numeric_limits<float>::infinity();
  const int32_t slots[] = {0, 1, 2, 3, 4, 5};
  for (const Isa isa : all_tiers())
    for (const DType dtype : {DType::i8, DType::f8_e4m3}) {
      Machine m(isa);
      PagedKv kv{Tensor::zeros({1, 1, 6, kSize}, dtype),
                 Tensor::zeros({1, 1, 6, kSize}, dtype),
                 Tensor::zeros({1, 1, 6}, DType::f32),
                 Tensor::zeros({1, 1, 6}, DType::f32)};
      store_kv_(m.ctx, x, x, kv, slots);
      std::vector<float> y(kSize);
      for (int64_t row = 0; row < 6; ++row) {
        load_kv_row(row_kernels(isa), kv.k, kv.k_scale, row, y.data());
        const std::span<const float> in = x.slice(0, row, row + 1).span<float>();
        float largest = 0;
        for (const float value : in) largest = std::max(largest, std::abs(value));
        for (size_t i = 0; i < y.size(); ++i) {
          if (row >= 4) {
            ASSERT_TRUE(std::isnan(y[i])) << row << " " << i;
            continue;
          }
          const float bound = dtype == DType::i8
                                  ? largest / 127 * 0.5001f
                                  : std::abs(in[i]) * 0x1p-4f + largest / 448 * 0x1p-10f;
          ASSERT_NEAR(y[i], in[i], bound + 1e-36f) << name_of(dtype) << " " << row << " " << i;
        }
      }
    }
}

TEST(PagedAttention, EmptyBatches) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Heads heads{2, 1, 8};
    EXPECT_EQ(step(m.ctx, heads, {}, 4, DType::f32).shape(), Shape({0, 16}));
    const Conversation a = conversation(heads, 9, 1);
    const Member members[] = {{&a, 5, 0}, {&a, 9, 2}};
    EXPECT_EQ(step(m.ctx, heads, members, 4, DType::f32).shape(), Shape({2, 16}));
  }
}

TEST(PagedAttention, HugeScoresDoNotOverflow) {
  for (const Isa isa : all_tiers()) {
    Machine m(isa);
    const Heads heads{1, 1, 16};
    Conversation a = conversation(heads, 100, 1);
    for (float& value : a.q.span<float>()) value *= 1e4f;
    const Member member{&a, 100, 4};
    for (const float value : step(m.ctx, heads, {&member, 1}, 16, DType::f32).span<float>())
      EXPECT_TRUE(std::abs(value) < 10);
  }
}

TEST(SegmentAttention, EveryTierAgreesWithThePlainLoops) {
  for (const Activation activation : {Activation::f32, Activation::bf16})
    for (const Heads heads : {Heads{2, 2, 8},
                              Heads{4, 2, 20},
                              Heads{1, 1, 7},
                              Heads{2, 2, 80},
                              Heads{1, 1, 72},
                              Heads{2, 1, 128}}) {
      const int64_t total = 300;
      const Tensor qkv = random_tensor({total, heads.q + 2 * heads.kv, heads.size}, 1);
      const Tensor q = qkv.slice(1, 0, heads.q), k = qkv.slice(1, heads.q, heads.q + heads.kv);
      const Tensor v = qkv.slice(1, heads.q + heads.kv, heads.q + 2 * heads.kv);
      const int32_t segments[] = {0, 1, 64, 64, 200, 300};
      Machine plain(Isa::scalar, 2, activation);
      const Tensor expected = segment_attention(plain.ctx, q, k, v, segments, 0.125f);
      for (const Isa isa : fast_tiers()) {
        Machine fast(isa, 2, activation);
        const Tensor got = segment_attention(fast.ctx, q, k, v, segments, 0.125f);
        expect_close(got,
                     expected,
                     bound_of(isa, activation),
                     quern::format("{} E {}", name_of(isa), heads.size));
      }
    }
}

TEST(SegmentAttention, ARowHasTheSameBitsWhateverCompanyAndThread) {
  const Tensor q = random_tensor({500, 2, 40}, 1), k = random_tensor({500, 2, 40}, 2),
               v = random_tensor({500, 2, 40}, 3);
  for (const Activation activation : {Activation::f32, Activation::bf16})
    for (const Isa isa : fast_tiers()) {
      Machine one(isa, 1, activation), three(isa, 3, activation);
      const int32_t segments[] = {0, 130, 500}, alone[] = {0, 370};
      const Tensor all = segment_attention(three.ctx, q, k, v, segments, 0.2f);
      const Tensor part = segment_attention(
          one.ctx, q.slice(0, 130, 500), k.slice(0, 130, 500), v.slice(0, 130, 500), alone, 0.2f);
      EXPECT_TRUE(same_bits(all.slice(0, 130, 500), part)) << name_of(isa);
    }
}

// A mask of blocks: more or fewer than the row before, around the ends of splits.
std::vector<int32_t> uneven_sight(int32_t rows) {
  std::vector<int32_t> out;
  for (int32_t p = 0; p < rows; ++p)
    out.push_back(p % 7 == 3 ? 1 : std::min(rows, p / 60 * 60 + 60 + (p % 60 > 40 ? 30 : 0)));
  return out;
}

TEST(SegmentAttention, RowsSeeTheFirstRowsOfTheirSegment) {
  for (const Activation activation : {Activation::f32, Activation::bf16})
    for (const Heads heads : {Heads{2, 2, 8}, Heads{4, 2, 20}, Heads{3, 3, 64}}) {
      const Tensor q = random_tensor({620, heads.q, heads.size}, 1),
                   k = random_tensor({620, heads.kv, heads.size}, 2),
                   v = random_tensor({620, heads.kv, heads.size}, 3);
      const int32_t segments[] = {0, 20, 620};
      std::vector<int32_t> visible = uneven_sight(20);
      for (const int32_t seen : uneven_sight(600)) visible.push_back(seen);
      const SegmentSight sight{segments, visible};
      Machine plain(Isa::scalar, 2, activation);
      const Tensor expected = segment_attention(plain.ctx, q, k, v, sight, 0.125f);
      // A row that sees n rows is the last row of a segment of n.
      for (const int64_t row : {5, 20, 23, 61, 299, 619}) {
        const int64_t first = row < 20 ? 0 : 20, seen = visible[static_cast<size_t>(row)];
        const Tensor keys = k.slice(0, first, first + seen),
                     values = v.slice(0, first, first + seen);
        Tensor queries = Tensor::zeros({seen, heads.q, heads.size}, DType::f32);
        std::ranges::copy(q.slice(0, row, row + 1).span<float>(),
                          queries.data<float>() + (seen - 1) * heads.q * heads.size);
        const int32_t whole[] = {0, static_cast<int32_t>(seen)};
        const Tensor alone = segment_attention(plain.ctx, queries, keys, values, whole, 0.125f);
        EXPECT_TRUE(same_bits(alone.slice(0, seen - 1, seen), expected.slice(0, row, row + 1)));
      }
      for (const Isa isa : fast_tiers()) {
        Machine one(isa, 1, activation), three(isa, 3, activation);
        const Tensor got = segment_attention(three.ctx, q, k, v, sight, 0.125f);
        expect_close(got, expected, bound_of(isa, activation), std::string(name_of(isa)));
        EXPECT_TRUE(same_bits(got, segment_attention(one.ctx, q, k, v, sight, 0.125f)));
      }
    }
}

TEST(Attention, MetaTakesTheSameMemory) {
  for (const Isa isa : all_tiers())
    for (const int64_t rows : {1, 40}) {
      Machine real(isa);
      MetaMachine meta(isa);
      const Tensor cache = Tensor::zeros({80, 2, 16, 16}, DType::f32),
                   none = Tensor::empty(cache.shape(), DType::f32, Device::meta());
      std::vector<int32_t> table(80);
      for (int32_t b = 0; b < 80; ++b) table[static_cast<size_t>(b)] = b;
      const int32_t offsets[] = {0, static_cast<int32_t>(rows)}, contexts[] = {1200};
      const PagedBatch batch{offsets, contexts, table, 80};
      const Tensor q = random_tensor({rows, 4, 16}, 1),
                   shape = Tensor::empty(q.shape(), DType::f32, Device::meta());
      paged_attention(real.ctx, q, {cache, cache}, batch, 1);
      EXPECT_EQ(paged_attention(meta.ctx, shape, {none, none}, batch, 1).shape(),
                Shape({rows, 64}));
      const int32_t segments[] = {0, static_cast<int32_t>(rows)};
      segment_attention(real.ctx, q, q, q, segments, 1);
      segment_attention(meta.ctx, shape, shape, shape, segments, 1);
      EXPECT_EQ(real.arena->peak_bytes(), meta.arena->peak_bytes());
    }
}

}  // namespace
}  // namespace quern::ops
