// SPDX-License-Identifier: Apache-2.0
// Layers with experts against sums by hand, in plain loops; their bits in any company; ranks.
#include "nn/moe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "base/error.h"
#include "cache/kv_cache.h"
#include "nn/model.h"
#include "nn/owned_ctx.h"
#include "nn/test_checkpoint.h"

namespace quern {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kHidden = 24, kInner = 20, kExperts = 6, kTokens = 37;

std::vector<float> normal(size_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw(0.0f, 0.5f);
  std::vector<float> out(count);
  for (float& value : out) value = draw(engine);
  return out;
}

struct Matrix {
  int64_t n, k;
  std::vector<float> values;
  std::vector<double> operator*(const std::vector<double>& x) const {
    std::vector<double> y(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < k; ++j)
        y[static_cast<size_t>(i)] +=
            double{values[static_cast<size_t>(i * k + j)]} * x[static_cast<size_t>(j)];
    return y;
  }
};

class MoeTest : public ::testing::Test {
 protected:
  MoeTest() {
    config_.hidden = kHidden;
    config_.intermediate = kInner;
    config_.experts = kExperts;
    config_.shared = 2;
    config_.has_correction_bias = true;
    config_.rule = {.top_k = 3, .groups = 3, .kept_groups = 2, .scale = 2.5f};
    add("mlp.gate", kExperts, kHidden);
    bias_ = normal(kExperts, 99);
    checkpoint_->add_f32("mlp.gate.e_score_correction_bias", {kExperts}, bias_);
    for (int64_t e = 0; e < kExperts; ++e) add_mlp(format("mlp.experts.{}", e), kInner);
    add_mlp("mlp.shared_experts", 2 * kInner);
  }

  void add(const std::string& name, int64_t n, int64_t k) {
    matrices_[name] = {
        n, k, normal(static_cast<size_t>(n * k), static_cast<uint32_t>(matrices_.size()))};
    checkpoint_->add_f32(name + ".weight", {n, k}, matrices_[name].values);
  }
  void add_mlp(const std::string& name, int64_t inner) {
    add(name + ".gate_proj", inner, kHidden);
    add(name + ".up_proj", inner, kHidden);
    add(name + ".down_proj", kHidden, inner);
  }

  std::vector<double> mlp(const std::string& name, const std::vector<double>& x) {
    const std::vector<double> gate = matrices_[name + ".gate_proj"] * x;
    std::vector<double> inner = matrices_[name + ".up_proj"] * x;
    for (size_t i = 0; i < inner.size(); ++i) inner[i] *= gate[i] / (1 + std::exp(-gate[i]));
    return matrices_[name + ".down_proj"] * inner;
  }

  // The layer by hand for one token.
  std::vector<double> by_hand(const std::vector<double>& x) {
    std::vector<double> scores = matrices_["mlp.gate"] * x, choice(kExperts), out(kHidden);
    for (size_t e = 0; e < kExperts; ++e) {
      scores[e] = 1 / (1 + std::exp(-scores[e]));
      choice[e] = scores[e] + bias_[e];
    }
    // The worst of the three groups of two goes.
    size_t worst = 0;
    for (size_t g = 1; g < 3; ++g)
      if (choice[2 * g] + choice[2 * g + 1] < choice[2 * worst] + choice[2 * worst + 1]) worst = g;
    choice[2 * worst] = choice[2 * worst + 1] = -INFINITY;
    std::vector<size_t> order = {0, 1, 2, 3, 4, 5};
    std::ranges::sort(order, [&](size_t a, size_t b) { return choice[a] > choice[b]; });
    const double sum = scores[order[0]] + scores[order[1]] + scores[order[2]];
    for (size_t i = 0; i < 3; ++i) {
      const std::vector<double> y = mlp(format("mlp.experts.{}", order[i]), x);
      for (size_t d = 0; d < out.size(); ++d) out[d] += 2.5 * scores[order[i]] / sum * y[d];
    }
    const std::vector<double> shared = mlp("mlp.shared_experts", x);
    for (size_t d = 0; d < out.size(); ++d) out[d] += shared[d];
    return out;
  }

  Moe make(Ctx& ctx) const { return Moe(Builder(checkpoint_, ctx) / "mlp", config_, 1); }
  Tensor run(const Moe& moe, Ctx& ctx, const Tensor& x) const {
    return moe(ctx, x, {batch_, kv_, {}});
  }

  std::shared_ptr<TestCheckpoint> checkpoint_ = std::make_shared<TestCheckpoint>();
  std::map<std::string, Matrix> matrices_;
  std::vector<float> bias_;
  MoeConfig config_;
  Batch batch_;
  mutable KvCache kv_{{}, 1, 1, Device::cpu()};
  Tensor x_ = Tensor::from(normal(kTokens * kHidden, 7), {kTokens, kHidden});
};

TEST_F(MoeTest, IsTheSumByHandOnEveryTier) {
  for (const Isa isa : {Isa::scalar, probe_topology().isa}) {
    OwnedCtx owned({.threads = 2, .isa = isa, .arena_bytes = 1 << 20});
    const Tensor y = run(make(owned.ctx()), owned.ctx(), x_);
    for (int64_t t = 0; t < kTokens; ++t) {
      const float* x = x_.data<float>() + t * kHidden;
      const std::vector<double> expected = by_hand({x, x + kHidden});
      for (size_t d = 0; d < expected.size(); ++d)
        ASSERT_NEAR(y.data<float>()[t * kHidden + static_cast<int64_t>(d)], expected[d], 1e-5)
            << name_of(isa) << " token " << t;
    }
    EXPECT_EQ(owned.arena().overflow_bytes(), 0);
  }
}

TEST_F(MoeTest, ATokenHasTheSameBitsInAnyCompany) {
  for (const Isa isa : {Isa::scalar, probe_topology().isa})
    for (const Activation activation : {Activation::f32, Activation::bf16, Activation::int8}) {
      OwnedCtx one({.threads = 1, .isa = isa, .activation = activation}),
          three({.threads = 3, .isa = isa, .activation = activation});
      const Moe moe = make(one.ctx());
      const Tensor all = run(moe, three.ctx(), x_);
      for (int64_t t = 0; t < kTokens; t += 5)
        for (const int64_t count : {1, 2, 9}) {
          const int64_t end = std::min(t + count, kTokens);
          const Tensor some = run(moe, one.ctx(), x_.slice(0, t, end));
          ASSERT_TRUE(std::ranges::equal(some.span<float>(), all.slice(0, t, end).span<float>()))
              << name_of(isa) << " tokens " << t << " to " << end;
        }
    }
}

TEST_F(MoeTest, ItsRoutingIsTheSameWhateverActivationsAreRoundedTo) {
  struct Ids final : Probe {
    void record(std::string_view name, int layer, const Tensor& value) override {
      EXPECT_EQ(layer, 1);
      if (name == "router_ids") ids.assign(value.span<float>().begin(), value.span<float>().end());
    }
    std::vector<float> ids;
  };
  std::vector<float> expected;
  for (const Activation activation : {Activation::f32, Activation::bf16, Activation::int8}) {
    OwnedCtx owned({.threads = 1, .isa = probe_topology().isa, .activation = activation});
    Ids probe;
    make(owned.ctx())(owned.ctx(), x_, {batch_, kv_, {}, &probe});
    if (expected.empty()) expected = probe.ids;
    EXPECT_EQ(probe.ids.size(), static_cast<size_t>(3 * kTokens));
    EXPECT_EQ(probe.ids, expected);
  }
}

TEST_F(MoeTest, MetaTakesTheScratchOfARunAndWeighsAsMuch) {
  for (const Isa isa : {Isa::scalar, probe_topology().isa}) {
    OwnedCtx real({.threads = 2, .isa = isa, .arena_bytes = 1 << 20});
    OwnedCtx meta = OwnedCtx::meta(isa);
    const Builder a(checkpoint_, real.ctx()), b(checkpoint_, meta.ctx());
    const Moe on_cpu(a / "mlp", config_, 1), on_meta(b / "mlp", config_, 1);
    EXPECT_EQ(a.loaded_bytes(), b.loaded_bytes());
    run(on_cpu, real.ctx(), x_);
    run(on_meta, meta.ctx(), Tensor::empty({kTokens, kHidden}, DType::f32, Device::meta()));
    EXPECT_EQ(real.arena().peak_bytes(), meta.arena().peak_bytes()) << name_of(isa);
    // Of six experts a token reads three.
    double share = 0;
    int64_t copies = 0;
    for (const LoadedWeight& w : b.loaded())
      if (w.path == "mlp.experts.0.down_proj")
        share = w.stands.read_share, copies = w.stands.copies;
    EXPECT_EQ(share, 0.5);
    EXPECT_EQ(copies, kExperts);
  }
}

// Experts in the file have the bits of experts in memory, however few are held, and weigh what may
// be held.
TEST_F(MoeTest, ExpertsInTheFileChangeNoBit) {
  for (const Activation activation : {Activation::f32, Activation::int8}) {
    OwnedCtx owned({.threads = 2, .isa = probe_topology().isa, .activation = activation});
    const Builder whole(checkpoint_, owned.ctx());
    const Tensor expected = run(Moe(whole / "mlp", config_, 1), owned.ctx(), x_);
    int64_t experts = 0;
    for (const int64_t percent : {0, 20, 50, 100}) {
      const BuilderOptions options{.expert_memory_bytes = experts * percent / 100};
      OwnedCtx loading({.threads = 1, .isa = probe_topology().isa, .activation = activation});
      const Builder b(checkpoint_, loading.ctx(), {}, options);
      const Moe paged(b / "mlp", config_, 1);
      experts = b.paged_experts().bytes;
      EXPECT_EQ(b.paged_experts().token_bytes, experts / 2);  // 3 of 6
      EXPECT_EQ(b.loaded_bytes(), whole.loaded_bytes() - experts + *options.expert_memory_bytes);
      for (int pass = 0; pass < 2; ++pass)
        EXPECT_TRUE(
            std::ranges::equal(run(paged, owned.ctx(), x_).span<float>(), expected.span<float>()))
            << percent << " %";
      EXPECT_LE(b.expert_memory()->held_bytes(), *options.expert_memory_bytes);
      if (percent == 100) {
        EXPECT_EQ(b.expert_memory()->loads().count, kExperts);
      }

      OwnedCtx meta = OwnedCtx::meta(probe_topology().isa, activation);
      const Builder planned(checkpoint_, meta.ctx(), {}, options);
      const Moe on_meta(planned / "mlp", config_, 1);
      EXPECT_EQ(planned.loaded_bytes(), b.loaded_bytes());
      EXPECT_EQ(planned.paged_experts().token_bytes, experts / 2);
    }
  }
}

// A start says what is wrong with an expert that may not be chosen for days.
TEST_F(MoeTest, ExpertsInTheFileAreCheckedAtTheStart) {
  checkpoint_->add_f32("mlp.experts.4.down_proj.weight",
                       {kHidden, 3},
                       std::vector<float>(static_cast<size_t>(3 * kHidden)));
  OwnedCtx owned({.threads = 1});
  try {
    const Builder b(checkpoint_, owned.ctx(), {}, {.expert_memory_bytes = 0});
    const Moe paged(b / "mlp", config_, 1);
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::data_loss);
    EXPECT_THAT(e.what(), HasSubstr("mlp.experts.4.down_proj: expected"));
  }
}

// On ranks that only add up: their parts sum to the whole, however experts are shared out.
TEST_F(MoeTest, PartsOfRanksSumToTheWhole) {
  OwnedCtx owned({.threads = 1});
  config_.shared = 0;
  const ops::RoutingRule rule = config_.rule;
  ops::Routing routing{rule.top_k, {}, {}};
  for (int64_t t = 0; t < kTokens; ++t)
    for (const int32_t e : {0, 2, 5}) {
      routing.experts.push_back((e + static_cast<int32_t>(t)) % static_cast<int32_t>(kExperts));
      routing.weights.push_back(0.25f * static_cast<float>(e + 1));
    }
  const auto sum_of = [&](int ranks, std::optional<ExpertSplit> split) {
    Tensor y = Tensor::zeros({kTokens, kHidden}, DType::f32);
    for (int r = 0; r < ranks; ++r) {
      const Builder b(checkpoint_, owned.ctx(), Shard(r, ranks), {.expert_split = split});
      Experts(b / "mlp.experts", config_).add_to(owned.ctx(), y, x_, routing);
    }
    return y;
  };
  const Tensor whole = sum_of(1, {});
  for (const int ranks : {2, 3, 4, 5, 7, 8, 32})
    for (const auto split : {std::optional<ExpertSplit>(),
                             std::optional(ExpertSplit::whole),
                             std::optional(ExpertSplit::inside)}) {
      const Tensor y = sum_of(ranks, split);
      for (int64_t i = 0; i < y.numel(); ++i)
        ASSERT_NEAR(y.data<float>()[i], whole.data<float>()[i], 1e-5) << ranks << " ranks";
    }
}

// Kimi-K2: 2048 units in blocks of 32, cut at 128; GLM-4.6V: 1408.
TEST(ExpertSplit, GoesInsideWhereThatIsEven) {
  OwnedCtx meta = OwnedCtx::meta(Isa::avx2);
  const auto split = [&](int64_t inner, int ranks, int64_t granule, int64_t experts = 128) {
    MoeConfig c;
    c.intermediate = inner;
    c.experts = experts;
    const Builder b(std::make_shared<TestCheckpoint>(), meta.ctx(), Shard(0, ranks));
    return choose_expert_split(b, c, granule);
  };
  EXPECT_EQ(split(2048, 8, 128), ExpertSplit::inside);
  EXPECT_EQ(split(2048, 3, 128), ExpertSplit::inside);
  EXPECT_EQ(split(2048, 7, 128), ExpertSplit::whole);
  EXPECT_EQ(split(1408, 8, 128), ExpertSplit::whole);
  EXPECT_EQ(split(1408, 8, 1), ExpertSplit::inside);
  EXPECT_EQ(split(2048, 7, 128, 6), ExpertSplit::inside);  // fewer experts than ranks
}

TEST(MoeConfig, NamesWhatIsWrong) {
  const auto message = [](const std::string& experts, const std::string& groups) -> std::string {
    const std::string json =
        R"({"moe_intermediate_size": 64, "n_shared_experts": 1, "norm_topk_prob": true,
        "routed_scaling_factor": 2.5, "first_k_dense_replace": 1, )" +
        experts + ", " + groups + "}";
    try {
      MoeConfig::noaux_tc(Config::parse(json, "config.json"), 128);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const std::string experts = R"("n_routed_experts": 8, "num_experts_per_tok": 3)";
  EXPECT_EQ(message(experts, R"("n_group": 4, "topk_group": 2)"), "no error");
  EXPECT_THAT(message(experts, R"("n_group": 3, "topk_group": 2)"), HasSubstr("n_group 3"));
  EXPECT_THAT(message(experts, R"("n_group": 4, "topk_group": 5)"), HasSubstr("topk_group 5"));
  EXPECT_THAT(message(experts, R"("n_group": 4, "topk_group": 1)"),
              HasSubstr("num_experts_per_tok 3"));
  EXPECT_THAT(message(R"("n_routed_experts": 8)", R"("n_group": 1, "topk_group": 1)"),
              HasSubstr("num_experts_per_tok is missing"));
}

}  // namespace
}  // namespace quern
