// SPDX-License-Identifier: Apache-2.0
#include "nn/packed_weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "nn/builder.h"
#include "nn/owned_ctx.h"
#include "nn/test_checkpoint.h"
#include "weights/packed_store.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr Hash128 kKey{3, 4};
constexpr int64_t kCols = 256, kHeadRows = 40 * 1024;

// Everything that a Builder packs: blocks, floats, two stacked, a head in pieces.
std::shared_ptr<TestCheckpoint> make_checkpoint() {
  auto out = std::make_shared<TestCheckpoint>();
  out->add_q8_0("q.weight", 96, kCols);
  out->add_counting("k.weight", 70, kCols);
  out->add_f32("q.bias", {96}, std::vector<float>(96, 0.5f));
  std::vector<uint16_t> values(kHeadRows * kCols);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = float_to_bf16(static_cast<float>(i * 7919 % 1001) / 64 - 8);
  std::vector<std::byte> bytes(values.size() * 2);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  out->add("head.weight", Stored::bf16, {kHeadRows, kCols}, std::move(bytes));
  return out;
}

class PackedWeightsTest : public testing::Test {
 protected:
  ~PackedWeightsTest() override { fs::remove_all(folder_); }

  struct Loaded {
    Linear q, both, head;
    double head_error;
    std::string kernels;
    PackedWeights packed;
  };
  // What is stored, where it is, instead of the checkpoint's.
  void load(Ctx& ctx, Loaded& out) const {
    out.packed.stored = store_.open(kKey, pool_);
    const Builder b(checkpoint_, ctx, {}, {.int8_head = true, .packed = &out.packed});
    out.q = b.whole({"q"}, 96, kCols, Bias::present);
    out.both = b.stack({{"q", 96, {{0, 32}, {64, 96}}}, {"k", 70, {{5, 70}}}}, kCols);
    out.head = b.head("head", Cut::whole(kHeadRows), kCols);
    out.head_error = b.head_error();
    out.kernels = b.kernels();
  }
  static bool same_answer(Ctx& ctx, const Linear& a, const Linear& b) {
    Tensor x = Tensor::empty({5, a.cols()}, DType::f32);
    for (int64_t i = 0; i < x.numel(); ++i)
      x.data<float>()[i] = static_cast<float>(i * 31 % 97) / 32 - 1.5f;
    const Tensor p = a(ctx, x), q = b(ctx, x);
    return p.shape() == q.shape() && std::memcmp(p.raw(), q.raw(), p.bytes()) == 0;
  }
  void write(const PackedWeights& packed) const { store_.write(kKey, packed.entries, pool_); }

  std::string folder_ =
      (fs::temp_directory_path() / format("quern_packed_weights_{}", getpid())).string();
  PackedStore store_{folder_, 1 << 30};
  mutable ThreadPool pool_{2};
  std::shared_ptr<TestCheckpoint> checkpoint_ = make_checkpoint();
};

TEST_F(PackedWeightsTest, AnswerWithTheSameBits) {
  const Isa best = probe_topology().isa;
  for (const Isa isa : {Isa::scalar, Isa::avx2, best})
    for (const Activation activation : {Activation::f32, Activation::bf16, Activation::int8}) {
      if (isa > best) continue;
      fs::remove_all(folder_);
      OwnedCtx three({.threads = 3, .isa = isa, .activation = activation}),
          one({.threads = 1, .isa = isa, .activation = activation});
      Loaded first, second;
      load(three.ctx(), first);
      EXPECT_TRUE(first.packed.is_new);
      write(first.packed);
      load(one.ctx(), second);
      EXPECT_FALSE(second.packed.is_new);
      EXPECT_EQ(second.packed.entries.size(), 3u);
      EXPECT_TRUE(same_answer(one.ctx(), first.q, second.q));
      EXPECT_TRUE(same_answer(one.ctx(), first.both, second.both));
      EXPECT_TRUE(same_answer(one.ctx(), first.head, second.head));
      EXPECT_EQ(first.head_error, second.head_error);
      EXPECT_EQ(first.kernels, second.kernels);
    }
}

TEST_F(PackedWeightsTest, KeepTheOrderOfColumns) {
  const std::string golden = std::string(QUERN_SOURCE_DIR) + "/tests/golden/";
  for (const char* name : {"qwen2_vl_awq", "qwen2_vl_gptq_int4_actorder", "qwen2_vl_gptq_int8"}) {
    const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(golden + name);
    const Config& config = checkpoint->config();
    const int64_t cols = config.integer("hidden_size"), inner = config.integer("intermediate_size");
    OwnedCtx ctx({.threads = 2, .isa = probe_topology().isa, .activation = Activation::int8});
    fs::remove_all(folder_);
    Linear up[2], down[2];
    for (int round = 0; round < 2; ++round) {
      PackedWeights packed{.stored = store_.open(kKey, pool_), .entries = {}};
      const Builder b =
          Builder(checkpoint, ctx.ctx(), {}, {.packed = &packed}) / "model.layers.0.mlp";
      up[round] = b.whole({"gate_proj", "up_proj"}, inner, cols);
      down[round] = b.whole({"down_proj"}, cols, inner);
      EXPECT_EQ(packed.is_new, round == 0);
      write(packed);
    }
    EXPECT_TRUE(same_answer(ctx.ctx(), up[0], up[1])) << name;
    EXPECT_TRUE(same_answer(ctx.ctx(), down[0], down[1])) << name;
  }
}

TEST_F(PackedWeightsTest, AreMadeAnewWhereTheyDoNotFit) {
  OwnedCtx ctx({.threads = 2, .isa = Isa::scalar});
  Loaded first, second, third;
  load(ctx.ctx(), first);
  PackedWeights& packed = first.packed;
  packed.entries[0].pieces[0].tensors[0] = Tensor::zeros({7}, DType::u8);
  packed.entries.pop_back();
  write(packed);
  load(ctx.ctx(), second);
  EXPECT_TRUE(second.packed.is_new);
  EXPECT_TRUE(same_answer(ctx.ctx(), first.q, second.q));
  EXPECT_TRUE(same_answer(ctx.ctx(), first.head, second.head));
  write(second.packed);
  load(ctx.ctx(), third);
  EXPECT_FALSE(third.packed.is_new);
  EXPECT_TRUE(same_answer(ctx.ctx(), first.q, third.q));
}

TEST_F(PackedWeightsTest, AreNotAskedForOnMeta) {
  OwnedCtx meta = OwnedCtx::meta(Isa::scalar);
  Loaded loaded;
  load(meta.ctx(), loaded);
  EXPECT_TRUE(loaded.packed.entries.empty());
  EXPECT_FALSE(loaded.packed.is_new);
}

}  // namespace
}  // namespace quern
