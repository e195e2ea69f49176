// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "base/error.h"
#include "base/error_of.h"
#include "models/registry.h"
#include "nn/owned_ctx.h"
#include "nn/sequence_runner.h"
#include "quantize/quantizer/awq.h"
#include "quantize/quantizer/calibration.h"
#include "quantize/quantizer/gptq.h"
#include "quantize/quantizer/hessian.h"
#include "quantize/quantizer/layer_rounder.h"
#include "quantize/quantizer/rounding.h"
#include "quantize/quantizer/scheme.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> normal(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> out(static_cast<size_t>(count));
  for (float& v : out) v = distribution(random);
  return out;
}

std::vector<int> codes_of(const std::vector<float>& weights, const GroupRange& range, int bits) {
  std::vector<int> out;
  for (const float w : weights) out.push_back(code_of(w, range, bits));
  return out;
}

// The example of docs/quantize.md: the range holds 0, so a group of one sign does not
// collapse.
TEST(Rounding, ZeroPointsDivideTheRangeThatHoldsZero) {
  const IntGrid grid{.bits = 4, .group = -1, .is_symmetric = false, .scales = DType::f16};
  const std::vector<float> mixed = {-0.7f, 0.1f, 0.4f, 0.5f}, positive = {1.0f, 1.25f, 1.5f};
  GroupRange range = range_of(mixed, grid);
  EXPECT_NEAR(range.scale, 0.08, 1e-4);
  EXPECT_EQ(range.zero, 9);
  EXPECT_THAT(codes_of(mixed, range, 4), ElementsAre(0, 10, 14, 15));
  range = range_of(positive, grid);
  EXPECT_EQ(range.zero, 0);
  for (const float w : positive) EXPECT_NEAR(decoded(code_of(w, range, 4), range), w, 0.06);
}

TEST(Rounding, SymmetricRangesAndGroupsOfZeros) {
  const IntGrid grid{.bits = 8, .group = -1, .is_symmetric = true, .scales = DType::bf16};
  const GroupRange range = range_of(std::vector<float>{-2.0f, 1.0f}, grid);
  EXPECT_EQ(range.zero, 128);
  EXPECT_NEAR(range.scale, 4.0 / 255, 1e-4);
  const GroupRange nothing = range_of(std::vector<float>{0.0f, 0.0f}, grid);
  EXPECT_EQ(decoded(code_of(0.0f, nothing, 8), nothing), 0.0f);
  EXPECT_EQ(code_of(1e30f, range, 8), 255);
  EXPECT_EQ(code_of(-1e30f, range, 8), 0);
}

TEST(Rounding, ASearchedRangeIsNeverWorse) {
  ThreadPool pool(2);
  const Tensor weights = Tensor::from(normal(64 * 256, 1), {64, 256});
  const IntGrid grid{.bits = 4, .group = 64, .is_symmetric = true, .scales = DType::f16};
  const auto error = [&](RangeSearch search) {
    const Tensor values = values_of(round_to_nearest(pool, weights, grid, search));
    double sum = 0;
    for (int64_t i = 0; i < values.numel(); ++i)
      sum += std::pow(values.data<float>()[i] - weights.data<float>()[i], 2);
    return sum;
  };
  EXPECT_LT(error(RangeSearch::by_importance), 0.95 * error(RangeSearch::none));
}

TEST(Rounding, FloatsOfEightBitsKeepTheirLargest) {
  ThreadPool pool(1);
  const Tensor weights = Tensor::from(normal(200 * 130, 2), {200, 130});
  const RoundedLayer rows = round_to_nearest(
                         pool, weights, E4m3Matrix::with_rows(pool, weights, DType::bf16), "p"),
                     blocks = round_to_nearest(
                         pool, weights, E4m3Matrix::with_blocks(pool, weights), "p");
  EXPECT_EQ(rows.tensors[1].shape, (Shape{200, 1}));
  EXPECT_EQ(blocks.tensors[1].name, "p.weight_scale_inv");
  EXPECT_EQ(blocks.tensors[1].shape, (Shape{2, 2}));
  for (const RoundedLayer& layer : {rows, blocks})
    for (int64_t i = 0; i < weights.numel(); ++i)
      ASSERT_NEAR(layer.values.data<float>()[i], weights.data<float>()[i], 0.26);
}

TEST(Rounding, AScaleBeyondFloat16IsRefusedByName) {
  const Tensor weights = Tensor::from(std::vector<float>{1e7f, 1.0f}, {1, 2});
  const IntGrid half{.bits = 4, .group = -1, .is_symmetric = true, .scales = DType::f16};
  EXPECT_THAT(error_of([&] { expect_storable(weights, half, "layer"); }),
              HasSubstr("unsupported: layer: a weight of"));
  expect_storable(
      weights, {.bits = 4, .group = -1, .is_symmetric = true, .scales = DType::bf16}, "layer");
}

// H = X' X of inputs that go together.
Tensor gram_of(int64_t size, unsigned seed) {
  const int64_t rows = 4 * size;
  std::vector<float> x = normal(rows * size, seed);
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t k = 1; k < size; ++k)
      x[static_cast<size_t>(t * size + k)] += x[static_cast<size_t>(t * size)];
  Tensor out = Tensor::zeros({size, size}, DType::f32);
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < size; ++j)
        out.data<float>()[i * size + j] +=
            x[static_cast<size_t>(t * size + i)] * x[static_cast<size_t>(t * size + j)];
  return out;
}

TEST(Hessian, TheFactorIsThatOfTheInverse) {
  constexpr int64_t kSize = 150;  // more than two blocks
  const Tensor gram = gram_of(kSize, 3);
  ThreadPool one(1), three(3);
  const Tensor u = inverse_factor(one, gram, 1e-6).value(),
               same = inverse_factor(three, gram, 1e-6).value();
  EXPECT_TRUE(std::ranges::equal(u.span<float>(), same.span<float>()));
  // U' U H = 1
  std::vector<double> inverse(kSize * kSize, 0.0);
  for (int64_t k = 0; k < kSize; ++k)
    for (int64_t i = 0; i < kSize; ++i)
      for (int64_t j = 0; j < kSize; ++j)
        inverse[static_cast<size_t>(i * kSize + j)] +=
            static_cast<double>(u.data<float>()[k * kSize + i]) * u.data<float>()[k * kSize + j];
  for (int64_t i = 0; i < kSize; ++i)
    for (int64_t j = 0; j < kSize; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < kSize; ++k)
        sum += inverse[static_cast<size_t>(i * kSize + k)] * gram.data<float>()[k * kSize + j];
      ASSERT_NEAR(sum, i == j ? 1 : 0, 2e-3) << i << ", " << j;
      if (j < i) {
        ASSERT_EQ(u.data<float>()[i * kSize + j], 0);
      }
    }
}

double output_loss(const Tensor& a, const Tensor& b, const Tensor& gram) {
  const int64_t cols = a.dim(1);
  double sum = 0;
  for (int64_t n = 0; n < a.dim(0); ++n)
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t j = 0; j < cols; ++j) {
        const auto e = [&](int64_t k) {
          return static_cast<double>(a.data<float>()[n * cols + k]) - b.data<float>()[n * cols + k];
        };
        sum += e(i) * e(j) * gram.data<float>()[i * cols + j];
      }
  return sum;
}

TEST(Gptq, MakesUpForWhatRoundingDid) {
  constexpr int64_t kInputs = 192;
  InputStatistics inputs;
  inputs.gram = gram_of(kInputs, 4);
  const Tensor weights = Tensor::from(normal(32 * kInputs, 5), {32, kInputs});
  const IntGrid grid{.bits = 4, .group = 64, .is_symmetric = true, .scales = DType::f16};
  ThreadPool one(1), three(3);
  const double plain = output_loss(
      weights, values_of(round_to_nearest(one, weights, grid, RangeSearch::none)), inputs.gram);
  for (const bool has_order : {false, true}) {
    Scheme scheme = parse_scheme("gptq-int4", {.layout = "", .has_act_order = has_order});
    const GptqInput input = prepare_gptq(one, inputs, scheme);
    const IntLayer layer = round_by_gptq(one, weights, input, grid, true);
    EXPECT_LT(output_loss(weights, values_of(layer), inputs.gram), 0.6 * plain);
    const IntLayer same =
        round_by_gptq(three, weights, prepare_gptq(three, inputs, scheme), grid, true);
    EXPECT_EQ(layer.codes, same.codes);
    EXPECT_EQ(layer.of_group.size(), 0);  // groups stay as they lie
  }
}

TEST(Gptq, MakesUpForWhatRoundingToSmallFloatsDid) {
  constexpr int64_t kInputs = 192;
  InputStatistics inputs;
  inputs.gram = gram_of(kInputs, 4);
  const Tensor weights = Tensor::from(normal(32 * kInputs, 5), {32, kInputs});
  ThreadPool one(1), three(3);
  for (const std::string name : {"fp8-dynamic", "fp8-block"})
    for (const bool has_order : {false, true}) {
      SCOPED_TRACE(format("{} {}", name, has_order));
      const Scheme scheme = parse_scheme(name, {.layout = "", .has_act_order = has_order});
      const auto rounded = [&](ThreadPool& pool, const GptqInput& input) {
        return round_by_gptq(
            pool, weights, input, e4m3_matrix(pool, weights, scheme, {.scales = DType::bf16}), "w");
      };
      const RoundedLayer plain = rounded(one, {});  // to nearest
      const GptqInput input = prepare_gptq(one, inputs, scheme);
      const RoundedLayer layer = rounded(one, input);
      EXPECT_LT(output_loss(weights, layer.values, inputs.gram),
                0.6 * output_loss(weights, plain.values, inputs.gram));
      EXPECT_EQ(layer.tensors[1].bytes, plain.tensors[1].bytes);  // scales
      EXPECT_EQ(layer.tensors[0].bytes, rounded(three, input).tensors[0].bytes);
    }
}

// As padding adds them.
TEST(Hessian, InputsThatNeverOccurChangeNothingForTheOthers) {
  ThreadPool pool(1);
  const Tensor gram = gram_of(40, 7);
  Tensor wider = Tensor::zeros({70, 70}, DType::f32);
  for (int64_t i = 0; i < 40; ++i)
    for (int64_t j = 0; j < 40; ++j)
      wider.data<float>()[i * 70 + j] = gram.data<float>()[i * 40 + j];
  const Tensor u = inverse_factor(pool, gram, 0.01).value(),
               v = inverse_factor(pool, wider, 0.01).value();
  for (int64_t i = 0; i < 70; ++i)
    for (int64_t j = i + 1; j < 70; ++j)
      ASSERT_EQ(v.data<float>()[i * 70 + j], j < 40 ? u.data<float>()[i * 40 + j] : 0);
}

TEST(Gptq, InputsThatNeverOccurDoNoHarm) {
  InputStatistics inputs;
  inputs.gram = Tensor::zeros({64, 64}, DType::f32);
  const Tensor weights = Tensor::from(normal(8 * 64, 6), {8, 64});
  const IntGrid grid{.bits = 8, .group = -1, .is_symmetric = true, .scales = DType::f16};
  ThreadPool pool(1);
  const GptqInput input = prepare_gptq(pool, inputs, parse_scheme("gptq-int8"));
  const Tensor values = values_of(round_by_gptq(pool, weights, input, grid, false));
  for (int64_t i = 0; i < values.numel(); ++i)
    ASSERT_NEAR(values.data<float>()[i], weights.data<float>()[i], 0.02);
}

TEST(Scheme, EachNameHasItsForm) {
  for (const std::string& name : scheme_names()) EXPECT_EQ(parse_scheme(name).name, name);
  EXPECT_FALSE(parse_scheme("rtn-int4", {.layout = "awq"}).is_symmetric);
  EXPECT_TRUE(parse_scheme("rtn-int4", {.symmetric = 1, .layout = "awq"}).is_symmetric);
  EXPECT_TRUE(parse_scheme("gptq-int8").is_symmetric);
  EXPECT_THAT(error_of([] { (void)parse_scheme("int3"); }),
              HasSubstr("expected rtn-int4, rtn-int8"));
  EXPECT_THAT(error_of([] { (void)parse_scheme("rtn-int8", {.layout = "awq"}); }),
              HasSubstr("codes of 4 bits only"));
  EXPECT_THAT(error_of([] { (void)parse_scheme("rtn-int4", {.group = 48, .layout = ""}); }),
              HasSubstr("--group-size 48"));
  EXPECT_EQ(parse_scheme("w8a8-int8").smoothing, 0.5);
  EXPECT_FALSE(parse_scheme("w8a8-int8", {.layout = "", .smoothing = 0}).needs_calibration());
  const auto without_texts = [](std::string_view name, double smoothing) {
    return parse_scheme(name, {.layout = "", .smoothing = smoothing, .is_without_texts = true});
  };
  for (const std::string_view name : {"rtn-int4", "fp8-dynamic", "fp8-block", "w8a8-int8"})
    EXPECT_FALSE(without_texts(name, -1).needs_calibration());
  EXPECT_TRUE(parse_scheme("fp8-dynamic").needs_calibration());
  EXPECT_THAT(error_of([&] { (void)without_texts("gptq-int4", -1); }),
              HasSubstr("gptq-int4 looks at inputs; rtn-int4 and rtn-int8 do not"));
  EXPECT_THAT(error_of([&] { (void)without_texts("w8a8-int8", 0.5); }),
              HasSubstr("leave out --smoothing"));
  EXPECT_THAT(error_of([] { (void)parse_scheme("awq-int4", {.layout = "", .smoothing = 0.5}); }),
              HasSubstr("--smoothing: is of schemes that round inputs"));
  EXPECT_THAT(error_of([] { (void)parse_scheme("w8a8-int8", {.group = 64, .layout = ""}); }),
              HasSubstr("its form is fixed"));
  EXPECT_THAT(error_of([] { (void)parse_scheme("fp8-block", {.group = 64, .layout = ""}); }),
              HasSubstr("its form is fixed"));
}

// Hidden states of a whole run, and the inputs of one layer.
class HiddenStates final : public Probe {
 public:
  void record(std::string_view name, int layer, const Tensor& value) override {
    if (name == "hidden")
      states[layer].assign(value.span<float>().begin(), value.span<float>().end());
  }
  std::map<int, std::vector<float>> states;
};

class CalibrationTest : public ::testing::Test {
 protected:
  static constexpr const char* kModel = QUERN_SOURCE_DIR "/tests/golden/qwen2_untied";
  OwnedCtx owned_{{.threads = 2, .isa = probe_topology().isa}};
  std::shared_ptr<const Checkpoint> checkpoint_ = open_checkpoint(kModel);
  std::vector<CalibrationSequence> texts_ = {
      CalibrationSequence(std::vector<int32_t>{5, 17, 42, 99, 3, 250, 8}),
      CalibrationSequence(std::vector<int32_t>{1, 2, 3})};
};

TEST_F(CalibrationTest, LayersOneByOneAreTheWholeModel) {
  CalibrationStream stream(owned_.ctx(), texts_, 2);
  stream.advance(checkpoint_);
  EXPECT_EQ(stream.layer(), 1);
  const auto model = make_model(Builder(checkpoint_, owned_.ctx()));
  for (size_t i = 0; i < texts_.size(); ++i) {
    HiddenStates seen;
    SequenceRunner runner(*model, owned_.ctx(), 16);
    const std::vector<int32_t> rows = {0};
    (void)runner.prefill({.ids = texts_[i].ids, .positions = {}, .media = {}}, rows, 0, &seen);
    EXPECT_EQ(stream.states()[i], seen.states[1]);
  }
}

TEST_F(CalibrationTest, ObservesWhatEachProductReads) {
  CalibrationStream stream(owned_.ctx(), texts_, 2);
  StatisticsObserver seen(owned_.ctx());
  stream.observe(checkpoint_, seen);
  EXPECT_EQ(stream.layer(), 0);
  const auto expect = [&](const char* part, int64_t inputs) {
    const InputStatistics& s = seen.of(format("model.layers.0.{}", part));
    EXPECT_EQ(s.rows, 10);
    EXPECT_EQ(s.gram.shape(), (Shape{inputs, inputs}));
    for (const float d : s.diagonal()) EXPECT_GE(d, 0);
    for (int64_t i = 0; i < inputs; ++i)
      EXPECT_NEAR(s.gram.data<float>()[i * inputs], s.gram.data<float>()[i], 1e-3);
  };
  expect("self_attn.q_proj", 128);
  expect("self_attn.o_proj", 128);
  expect("mlp.gate_proj", 128);
  expect("mlp.down_proj", 384);
  for (size_t k = 0; k < 128; ++k) {
    const InputStatistics& s = seen.of("model.layers.0.mlp.up_proj");  // gate's
    EXPECT_LE(s.maxima[k], s.magnitudes[k]);
    EXPECT_GE(s.maxima[k] * 10, s.magnitudes[k]);
  }
  EXPECT_THAT(error_of([&] { (void)seen.of("model.layers.1.mlp.down_proj"); }),
              HasSubstr("was not run"));
}

// Before anything is rounded, a folded layer is the layer.
TEST_F(CalibrationTest, FoldedScalesChangeNothing) {
  auto layer = std::make_shared<WorkingLayer>(checkpoint_, checkpoint_->config());
  const std::string prefix = "model.layers.0.";
  std::set<std::string> linear;
  for (const std::string& name : checkpoint_->names()) {
    if (!name.starts_with(prefix)) continue;
    layer->set(name, read_f32(*checkpoint_, name));
    if (name.ends_with("_proj.weight")) linear.insert(name.substr(0, name.size() - 7));
  }
  CalibrationStream before(owned_.ctx(), texts_, 2), after(owned_.ctx(), texts_, 2);
  StatisticsObserver seen(owned_.ctx());
  before.observe(layer, seen);
  before.advance(layer);
  const IntGrid grid{.bits = 4, .group = 32, .is_symmetric = false, .scales = DType::f16};
  AwqSearch search(owned_.ctx(), grid, *layer, seen);
  ScaleFolding folding(*layer, seen);
  folding.fold_layer({prefix, linear, [](const std::string&) { return Stored::bf16; }},
                     [&](const FoldedPair& pair) { return search(pair); });
  EXPECT_EQ(search.ratios().size(), 7);
  EXPECT_GE(folding.take_changed().size(), 1);
  after.advance(layer);
  for (size_t i = 0; i < texts_.size(); ++i)
    for (size_t j = 0; j < before.states()[i].size(); ++j)
      ASSERT_NEAR(after.states()[i][j], before.states()[i][j], 1e-4);
}

}  // namespace
}  // namespace quern
