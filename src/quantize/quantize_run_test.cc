// SPDX-License-Identifier: Apache-2.0
// Whole runs of the quantizer over the small golden checkpoints: padding, bytes with smoothing,
// mixtures of experts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/error_of.h"
#include "models/registry.h"
#include "nn/sequence_runner.h"
#include "quantize/quantizer/calibration.h"
#include "quantize/quantizer/quantize.h"
#include "quantize/quantizer/smoothing.h"
#include "quantize/quantizer/source_model.h"
#include "weights/weight_format.h"

namespace quern {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr int kVocabulary = 500;  // every golden model has as many tokens

std::string golden(const std::string& name) {
  return std::string(QUERN_SOURCE_DIR) + "/tests/golden/" + name;
}

std::vector<CalibrationSequence> texts(size_t count, size_t length) {
  std::mt19937 random(11);
  std::vector<CalibrationSequence> out(count);
  for (CalibrationSequence& s : out)
    for (size_t i = 0; i < length; ++i)
      s.ids.push_back(static_cast<int32_t>(random() % kVocabulary));
  return out;
}

class QuantizeRun : public ::testing::Test {
 protected:
  QuantizeRun() : folder_(fs::temp_directory_path() / format("quern-quantize-{}", ::getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~QuantizeRun() override { fs::remove_all(folder_); }

  std::string path(std::string_view name) const { return folder_ / name; }

  QuantizeRequest request(const std::string& model, std::string_view scheme) const {
    QuantizeRequest r;
    r.model = golden(model);
    const bool has_groups = scheme.find("int") != std::string_view::npos && scheme != "w8a8-int8";
    r.scheme = parse_scheme(scheme, {.group = has_groups ? 32 : 0, .layout = ""});
    if (r.scheme.needs_calibration()) r.calibration = texts(5, 60);
    r.machine = {.threads = 2, .isa = probe_topology().isa, .activation = Activation::f32};
    return r;
  }
  Json run(QuantizeRequest r, std::string_view out) const {
    r.out = path(out);
    return quantize(r);
  }

  // [T, V] of one text.
  std::vector<float> logits(const std::string& folder) {
    const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(folder);
    const auto model = make_model(Builder(checkpoint, owned_.ctx()));
    const std::vector<int32_t> ids = texts(1, 24).front().ids;
    std::vector<int32_t> rows(ids.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int32_t>(i);
    SequenceRunner runner(*model, owned_.ctx(), 32);
    const Tensor out = runner.prefill(
        {.ids = ids, .positions = {}, .axes = model->info().rope_axes, .media = {}}, rows);
    return {out.span<float>().begin(), out.span<float>().end()};
  }

  static double relative_error(const std::vector<float>& got, const std::vector<float>& expected) {
    double difference = 0, whole = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      difference += std::pow(got[i] - expected[i], 2);
      whole += std::pow(expected[i], 2);
    }
    return difference / whole;
  }

  fs::path folder_;
  OwnedCtx owned_{{.threads = 2, .isa = probe_topology().isa, .activation = Activation::f32}};
};

// [N, K] with rows and columns beyond those of `before` that must be zero; the others must agree.
void expect_padded(const Tensor& after, const Tensor& before, const std::string& name) {
  for (int64_t n = 0; n < after.dim(0); ++n)
    for (int64_t k = 0; k < after.dim(1); ++k) {
      const bool is_kept = n < before.dim(0) && k < before.dim(1);
      const float expected = is_kept ? before.data<float>()[n * before.dim(1) + k] : 0.0f;
      ASSERT_EQ(after.data<float>()[n * after.dim(1) + k], expected)
          << name << " " << n << " " << k;
    }
}

// Groups of 32, and blocks of 128, divide the old width of 384: padding changes no group.
TEST_F(QuantizeRun, PaddingLeavesEveryWeightAsItIsWithoutIt) {
  for (const std::string& scheme : scheme_names()) {
    SCOPED_TRACE(scheme);
    QuantizeRequest r = request("qwen2_untied", scheme);
    (void)run(r, "plain");
    r.padding.multiple = 640;
    const Json report = run(r, "padded");
    EXPECT_EQ(report["padded"].dump(), R"({"intermediate_size":[384,640]})");
    const auto plain = open_checkpoint(path("plain")), padded = open_checkpoint(path("padded"));
    EXPECT_EQ(padded->config().integer("intermediate_size"), 640);
    for (const std::string part : {"gate_proj", "up_proj", "down_proj"}) {
      const std::string name = "model.layers.1.mlp." + part;
      expect_padded(read_weights(*padded, name), read_weights(*plain, name), name);
    }
    EXPECT_EQ(logits(path("padded")), logits(path("plain")));
    fs::remove_all(path("plain"));
    fs::remove_all(path("padded"));
  }
}

TEST_F(QuantizeRun, PaddingReachesLayersThatStayFloats) {
  QuantizeRequest r = request("qwen2_untied", "rtn-int4");
  r.padding.degrees = {2, 5};
  r.ignored = {"layers.0"};
  EXPECT_EQ(run(r, "out")["padded"].dump(), R"({"intermediate_size":[384,640]})");
  const auto padded = open_checkpoint(path("out"));
  const std::string name = "model.layers.0.mlp.down_proj";
  expect_padded(read_weights(*padded, name),
                read_weights(*open_checkpoint(golden("qwen2_untied")), name),
                name);
  r.padding.multiple = 2;
  r.out = path("no");
  EXPECT_THAT(error_of([&] { (void)quantize(r); }), HasSubstr("--for-tp"));
}

// 160 inputs of an expert are no whole groups of 64.
TEST_F(QuantizeRun, ExpertsArePaddedToWholeGroups) {
  QuantizeRequest r = request("glm46v_moe", "rtn-int8");
  r.scheme.group = 64;
  r.out = path("no");
  EXPECT_THAT(error_of([&] { (void)quantize(r); }), HasSubstr("160 inputs"));
  r.padding.multiple = 64;
  const Json report = run(r, "out");
  EXPECT_EQ(report["padded"].dump(), R"({"moe_intermediate_size":[160,192]})");
  EXPECT_LT(relative_error(logits(path("out")), logits(golden("glm46v_moe"))), 1e-3);
}

TEST_F(QuantizeRun, BytesWithSmoothingAreWhatVllmLoads) {
  const Json report = run(request("qwen2_untied", "w8a8-int8"), "out");
  const Json& stated = report["quantization_config"];
  EXPECT_EQ(stated["format"], "int-quantized");
  const Json& group = stated["config_groups"]["group_0"];
  EXPECT_EQ(group["weights"]["strategy"], "channel");
  EXPECT_EQ(group["input_activations"]["strategy"], "token");
  EXPECT_EQ(group["input_activations"]["type"], "int");
  EXPECT_EQ(group["input_activations"]["dynamic"], true);
  const auto made = open_checkpoint(path("out"));
  const std::string name = "model.layers.0.self_attn.q_proj";
  EXPECT_EQ(made->info(name + ".weight").stored, Stored::i8);
  EXPECT_EQ(made->info(name + ".weight_scale").shape, (Shape{128, 1}));
  EXPECT_LT(relative_error(logits(path("out")), logits(golden("qwen2_untied"))), 1e-3);
  QuantizeRequest plain = request("qwen2_untied", "w8a8-int8");
  plain.scheme = parse_scheme("w8a8-int8", {.layout = "", .smoothing = 0});
  EXPECT_FALSE(plain.scheme.needs_calibration());
  plain.calibration.clear();
  (void)run(plain, "plain");
  EXPECT_LT(relative_error(logits(path("plain")), logits(golden("qwen2_untied"))), 1e-3);
}

// Weights of the source, in a layer that can be changed.
class Folding : public QuantizeRun {
 protected:
  void open(const std::string& model, int layers) {
    checkpoint_ = open_checkpoint(golden(model));
    layers_ = layers;
  }
  std::shared_ptr<WorkingLayer> layer(int index) {
    auto out = std::make_shared<WorkingLayer>(checkpoint_, checkpoint_->config());
    linear_.clear();
    const std::string prefix = format("model.layers.{}.", index);
    for (const std::string& name : checkpoint_->names()) {
      if (!name.starts_with(prefix)) continue;
      const auto read = [this, name] { return read_f32(*checkpoint_, name); };
      if (routed_expert_of(name))
        out->set_lazy(name, checkpoint_->info(name).shape, read);
      else
        out->set(name, read());
      if (name.ends_with(".weight") && checkpoint_->info(name).shape.rank() == 2 &&
          !name.ends_with("mlp.gate.weight"))
        linear_.insert(name.substr(0, name.size() - 7));
    }
    return out;
  }
  // Layer `index`, its input being what the layers before it make of the texts.
  CalibrationStream stream_at(int index) {
    CalibrationStream out(owned_.ctx(), texts_, layers_);
    while (out.layer() < index) out.advance(checkpoint_);
    return out;
  }
  ScaleFolding::Layer folded(int index) const {
    return {format("model.layers.{}.", index), linear_, [this](const std::string& name) {
              return checkpoint_->info(name).stored;
            }};
  }

  // Of `changed`, layer 1, as the stream runs it; returns the pairs that were met. Without
  // `has_all` only those with a router move.
  size_t fold(CalibrationStream& stream, WorkingLayer& changed, bool has_all) {
    StatisticsObserver seen(owned_.ctx());
    stream.observe(layer(1), seen, &seen);
    ScaleFolding folding(changed, seen);
    size_t pairs = 0;
    folding.fold_layer(folded(1), [&](const FoldedPair& pair) {
      ++pairs;
      EXPECT_EQ(pair.takes_powers, !pair.router.empty());
      return has_all || pair.takes_powers
                 ? smoothing_scales(changed, seen, pair, 0.7)
                 : std::vector<float>(static_cast<size_t>(pair.outputs), 1.0f);
    });
    return pairs;
  }

  std::shared_ptr<const Checkpoint> checkpoint_;
  int layers_ = 0;
  std::vector<CalibrationSequence> texts_ = texts(3, 40);
  std::set<std::string> linear_;
};

// What a layer shows of its router.
class Routes final : public Probe {
 public:
  void record(std::string_view name, int, const Tensor& value) override {
    if (name.starts_with("router"))
      shown.insert(shown.end(), value.span<float>().begin(), value.span<float>().end());
  }
  std::vector<float> shown;
};
class Blind final : public LinearObserver {
 public:
  void saw(std::string_view, const Tensor&) override {}
};

// Before anything is rounded a folded layer is the layer; and where only norm -> experts is folded,
// its router chooses the same experts with the same weights, bit for bit.
TEST_F(Folding, ExpertsAndTheirRouterAreCompensated) {
  for (const std::string model : {"glm46v_moe", "deepseek_v3"}) {
    SCOPED_TRACE(model);
    open(model, model == "glm46v_moe" ? 2 : 3);
    for (const bool has_all : {false, true}) {
      const auto as_it_was = layer(1), changed = layer(1);
      CalibrationStream before = stream_at(1), after = stream_at(1);
      EXPECT_EQ(fold(before, *changed, has_all), model == "glm46v_moe" ? 4 : 5);
      const std::string router = "model.layers.1.mlp.gate.weight";
      EXPECT_FALSE(std::ranges::equal(changed->at(router).span<float>(),
                                      as_it_was->at(router).span<float>()));
      Routes old_routes, new_routes;
      Blind blind;
      before.observe(as_it_was, blind, &old_routes);
      after.observe(changed, blind, &new_routes);
      EXPECT_GT(new_routes.shown.size(), 0);
      if (!has_all) {
        EXPECT_EQ(new_routes.shown, old_routes.shown);
      }
      if (layers_ == 2) continue;  // the last layer hands nothing on
      before.advance(as_it_was);
      after.advance(changed);
      for (size_t i = 0; i < texts_.size(); ++i)
        for (size_t j = 0; j < before.states()[i].size(); ++j)
          ASSERT_NEAR(after.states()[i][j], before.states()[i][j], 1e-4);
    }
  }
}

TEST_F(Folding, APairIsLeftAloneWhereAnExpertStaysAsItIs) {
  open("deepseek_v3", 3);
  const auto changed = layer(1);
  CalibrationStream stream = stream_at(1);
  StatisticsObserver seen(owned_.ctx());
  stream.observe(changed, seen, &seen);
  linear_.erase("model.layers.1.mlp.experts.5.up_proj");
  ScaleFolding folding(*changed, seen);
  folding.fold_layer(folded(1), [&](const FoldedPair& pair) {
    EXPECT_TRUE(pair.router.empty());
    return std::vector<float>(static_cast<size_t>(pair.outputs), 2.0f);
  });
}

TEST_F(Folding, ExpertsReadWhatTheTokensThatChoseThemGive) {
  open("deepseek_v3", 3);
  const auto source = layer(1);
  CalibrationStream stream = stream_at(1), together = stream_at(1);
  together.set_step_tokens(80);  // two texts, and one
  StatisticsObserver seen(owned_.ctx()), same(owned_.ctx());
  stream.observe(source, seen, &seen);
  together.observe(source, same, &same);
  int64_t rows = 0;
  for (int64_t e = 0; e < 8; ++e) {
    const Tensor own = seen.rows_of(e);
    EXPECT_TRUE(std::ranges::equal(own.span<float>(), same.rows_of(e).span<float>()));
    rows += own.dim(0);
  }
  EXPECT_EQ(rows, 3 * 40 * 3);  // each token goes to three
  EXPECT_FALSE(seen.has("model.layers.1.mlp.experts.0.gate_proj"));
  EXPECT_EQ(seen.of("model.layers.1.self_attn.kv_b_proj").rows, 120);
  EXPECT_EQ(seen.path_of("model.layers.1.self_attn.kv_a_proj_with_mqa"),
            "model.layers.1.self_attn.q_a_proj");
}

TEST_F(QuantizeRun, EverySchemeHasExperts) {
  for (const std::string model : {"glm46v_moe", "deepseek_v3"}) {
    const std::vector<float> expected = logits(golden(model));
    for (const std::string& scheme : scheme_names()) {
      SCOPED_TRACE(model + " " + scheme);
      QuantizeRequest r = request(model, scheme);
      if (r.scheme.needs_calibration()) r.calibration = texts(8, 60);
      const Json report = run(r, "out");
      const auto made = open_checkpoint(path("out"));
      const std::string expert = "model.layers.1.mlp.experts.3.down_proj";
      EXPECT_NE(format_of(*made, expert).name(), "plain");
      EXPECT_TRUE(report["layers"].contains(expert));
      EXPECT_EQ(format_of(*made, "model.layers.1.mlp.gate").name(), "plain");
      EXPECT_FALSE(report["layers"].contains("model.layers.1.mlp.gate"));
      // A router of random weights turns on small differences, and some tokens change experts: the
      // logits say only that nothing is where it does not belong.
      const double most = scheme.find("int4") != std::string::npos ? 0.03 : 1e-3;
      // 8-bit floats by GPTQ lie further from the weights, for the sake of the outputs.
      const double of_weights = r.scheme.is_float() ? 3e-3 : most;
      for (const auto& [name, layer] : report["layers"].items()) {
        EXPECT_LT(layer["weight_error"], of_weights) << name;
        EXPECT_LT(layer.value("output_error", 0.0), most) << name;
      }
      EXPECT_LT(relative_error(logits(path("out")), expected), 0.7);
      fs::remove_all(path("out"));
    }
  }
}

TEST_F(QuantizeRun, ExpertsThatFewTokensChooseAreCounted) {
  QuantizeRequest r = request("deepseek_v3", "gptq-int4");
  r.calibration = texts(1, 12);  // 36 choices among 8 experts, each 128 wide
  const Json few = run(r, "few");
  EXPECT_GT(few["rounded_to_nearest"], 0);
  const Json& layer = few["layers"]["model.layers.1.mlp.experts.0.gate_proj"];
  EXPECT_EQ(layer["rounded_to_nearest"], 1);
  EXPECT_FALSE(layer.contains("output_error"));
  EXPECT_FALSE(few["layers"]["model.layers.1.self_attn.o_proj"].contains("rounded_to_nearest"));
  r.calibration = texts(8, 100);
  EXPECT_EQ(run(r, "many")["rounded_to_nearest"], 0);
}

// Layer by layer, a text with a picture is what the whole model makes of it.
TEST_F(QuantizeRun, PicturesRunThroughTheTower) {
  const std::shared_ptr<const Checkpoint> checkpoint = open_checkpoint(golden("qwen2_vl"));
  const auto model = make_model(Builder(checkpoint, owned_.ctx()));
  auto picture = std::make_shared<MediaInput>();
  picture->rows = 16;
  picture->row_size = 3 * 2 * 14 * 14;
  picture->grid_h = picture->grid_w = 4;
  picture->tokens = 4;
  std::mt19937 random(5);
  for (int64_t i = 0; i < picture->rows * picture->row_size; ++i)
    picture->values.push_back(static_cast<float>(random() % 1000) / 500 - 1);
  std::vector<CalibrationSequence> sequences = texts(2, 12);
  sequences[1].pictures.push_back({picture, 3});
  for (int axis = 0; axis < 3; ++axis)
    for (int32_t t = 0; t < 12; ++t) sequences[1].positions.push_back(t < 4 + axis ? t : t - 1);

  const Tensor rows = model->encode(owned_.ctx(), *picture);
  const std::vector<MediaRows> media = {{3, rows}};
  struct States final : Probe {
    void record(std::string_view name, int layer, const Tensor& value) override {
      if (name == "hidden" && layer == 1)
        first.assign(value.span<float>().begin(), value.span<float>().end());
    }
    std::vector<float> first;
  } seen;
  SequenceRunner runner(*model, owned_.ctx(), 16);
  const std::vector<int32_t> last = {11};
  (void)runner.prefill(
      {.ids = sequences[1].ids, .positions = sequences[1].positions, .axes = 3, .media = media},
      last,
      0,
      &seen);
  for (const int64_t together : {0, 100}) {
    CalibrationStream stream(owned_.ctx(), sequences, model->info().layers);
    stream.set_step_tokens(together);
    stream.advance(checkpoint);
    EXPECT_EQ(stream.states()[1], seen.first);
  }
  sequences[1].positions.pop_back();
  CalibrationStream wrong(owned_.ctx(), sequences, model->info().layers);
  EXPECT_THAT(error_of([&] { wrong.advance(checkpoint); }), HasSubstr("expected 3 axes"));
}

// The bias of a norm takes the same scale exactly, or the pair would change what it makes.
TEST(FoldedNorm, TakesPowersOfTwoWhereItHasABias) {
  OwnedCtx owned({.threads = 1, .isa = probe_topology().isa});
  const Config config = Config::parse(R"({"num_attention_heads": 1})", "config.json");
  WorkingLayer layer(std::shared_ptr<const Checkpoint>(shapes_only_checkpoint(config, {})), config);
  const std::string prefix = "model.layers.0.", norm = prefix + "input_layernorm",
                    query = prefix + "self_attn.q_proj";
  layer.set(norm + ".weight", Tensor::from(std::vector<float>{1, 2}, {2}));
  layer.set(norm + ".bias", Tensor::from(std::vector<float>{0.5f, -3}, {2}));
  layer.set(query + ".weight", Tensor::from(std::vector<float>{1, 1, 1, 1}, {2, 2}));
  StatisticsObserver seen(owned.ctx());
  seen.saw(query, Tensor::from(std::vector<float>{8, 1}, {1, 2}));
  ScaleFolding folding(layer, seen);
  folding.fold_layer({prefix, {query}, [](const std::string&) { return Stored::bf16; }},
                     [](const FoldedPair&) { return std::vector<float>{3, 0.3f}; });
  const auto values = [&](const std::string& name) {
    const Tensor t = layer.at(name);
    return std::vector<float>(t.span<float>().begin(), t.span<float>().end());
  };
  EXPECT_EQ(values(norm + ".weight"), (std::vector<float>{0.25f, 8}));
  EXPECT_EQ(values(norm + ".bias"), (std::vector<float>{0.125f, -12}));
  EXPECT_EQ(values(query + ".weight"), (std::vector<float>{4, 0.25f, 4, 0.25f}));
  EXPECT_EQ(folding.take_changed().size(), 2);
  EXPECT_EQ(seen.of(query).maxima, (std::vector<float>{2, 4}));
}

TEST(Smoothing, SharesTheRangeOfInputsAndWeights) {
  OwnedCtx owned({.threads = 1, .isa = probe_topology().isa});
  const auto rest = std::shared_ptr<const Checkpoint>(
      shapes_only_checkpoint(Config::parse("{}", "config.json"), {}));
  WorkingLayer layer(rest, Config::parse("{}", "config.json"));
  layer.set("model.layers.0.a.weight", Tensor::from(std::vector<float>{0.5f, -4, 0, 1}, {2, 2}));
  StatisticsObserver seen(owned.ctx());
  const std::string name = "model.layers.0.a";
  seen.saw(name, Tensor::from(std::vector<float>{-8, 1, 2, 0}, {2, 2}));
  FoldedPair pair{"norm", true, {name}, {}, {0, 1}, 2};
  std::vector<float> scales = smoothing_scales(layer, seen, pair, 0.5);
  EXPECT_NEAR(scales[0], std::sqrt(8 / 0.5), 1e-5);
  EXPECT_NEAR(scales[1], std::sqrt(1 / 4.0), 1e-6);
  pair.of_output = {0, 0};  // heads that share
  pair.outputs = 1;
  scales = smoothing_scales(layer, seen, pair, 1);
  EXPECT_NEAR(scales.at(0), 8, 1e-5);
}

}  // namespace
}  // namespace quern
