// SPDX-License-Identifier: Apache-2.0
// Every golden model, quantized ones too, on several ranks and in several stages against itself
// alone, in float32. The ranks are threads here; processes run the same code.
#include <gtest/gtest.h>

#include "models/golden_case.h"
#include "nn/thread_ranks.h"

namespace quern {
namespace {

constexpr float kBound = 2e-3f;  // of a logit

class Ranks : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Model> on(const Degrees& degrees) { return built(degrees, case_.building()); }
  // The same without an output matrix: its rows are hidden states.
  std::unique_ptr<Model> hidden_on(const Degrees& degrees) {
    BuilderOptions options = case_.building();
    options.output = Output::hidden;
    return built(degrees, options);
  }
  // The same with so many bytes of experts in memory.
  std::unique_ptr<Model> holding(int64_t expert_bytes, const Degrees& degrees) {
    BuilderOptions options = case_.building();
    options.expert_memory_bytes = expert_bytes;
    return built(degrees, options);
  }
  // The logits of each prompt, media encoded by this model.
  std::vector<std::vector<float>> logits(const Model& model) {
    std::vector<std::vector<float>> out;
    for (const Json& p : case_.prompts()) {
      const std::string name = p["name"].get<std::string>();
      GoldenPrompt prompt(case_, name);
      std::vector<Tensor> encoded;
      for (const MediaKind kind : kMediaKinds)
        for (const MediaInput& one : stored_media(case_, name, kind))
          encoded.push_back(model.encode(case_.ctx(), one));
      put(encoded, prompt.media);
      SequenceRunner runner(model, case_.ctx(), static_cast<int64_t>(prompt.ids.size()));
      const auto row = runner.prefill(prompt.input(), prompt.sample_rows);
      out.emplace_back(row.span<float>().begin(), row.span<float>().end());
    }
    return out;
  }

  static inline const Isa kIsa = probe_topology().isa;
  ModelGolden case_{GetParam(), kIsa};

 private:
  std::unique_ptr<Model> built(const Degrees& degrees, const BuilderOptions& options) {
    return std::make_unique<ThreadRanks>(
        case_.checkpoint(),
        OwnedCtx::Options{.threads = 1, .isa = kIsa},
        degrees,
        [](const Builder& b) { return make_model(b); },
        options);
  }

  // Rows of the media one behind the other take the places of those that one rank made: a recording
  // is several media, windows, and one place.
  static void put(const std::vector<Tensor>& encoded, std::vector<MediaRows>& places) {
    if (encoded.empty()) return;
    std::vector<float> all;
    for (const Tensor& rows : encoded) {
      const Tensor flat = rows.contiguous();
      all.insert(all.end(), flat.span<float>().begin(), flat.span<float>().end());
    }
    const int64_t width = encoded.front().dim(1), count = static_cast<int64_t>(all.size()) / width;
    const Tensor rows = Tensor::from(all, {count, width});
    int64_t used = 0;
    for (MediaRows& place : places) {
      const int64_t end = used + place.rows.dim(0);
      place.rows = rows.slice(0, used, end);
      used = end;
    }
  }
};

TEST_P(Ranks, StayWithinTheBoundOfOne) {
  const auto expected = logits(*on({}));
  for (const int ranks : {2, 3, 4, 5, 8}) {
    const auto got = logits(*on({.tensor = ranks}));
    for (size_t p = 0; p < expected.size(); ++p)
      EXPECT_LE(excess(got[p], expected[p], kBound, 0), 0) << ranks << " ranks, prompt " << p;
  }
  const auto got = logits(*on({.tensor = 3, .proportions = {2, 1, 1}}));
  for (size_t p = 0; p < expected.size(); ++p)
    EXPECT_LE(excess(got[p], expected[p], kBound, 0), 0) << "2, 1, 1, prompt " << p;
}

// Golden files have the last position's states, the last of them after the final norm.
TEST_P(Ranks, HiddenStatesAreTheReferences) {
  const auto expected = logits(*hidden_on({}));
  for (size_t p = 0; p < expected.size(); ++p) {
    const std::string name = case_.prompts()[p]["name"].get<std::string>();
    if (!case_.has(name + ".hidden_last_pos")) continue;
    const Tensor states = case_.floats(name + ".hidden_last_pos");
    const int64_t layers = states.dim(0), size = states.dim(1);
    const Tensor last = states.slice(0, layers - 1, layers);
    const std::span<const float> row =
        std::span(expected[p]).last(static_cast<size_t>(size));  // of the last position
    EXPECT_LE(excess(row, last.contiguous().span<float>(), case_.atol, case_.rtol), 0) << name;
  }
  for (const int ranks : {2, 3}) {
    const auto got = logits(*hidden_on({.tensor = ranks}));
    for (size_t p = 0; p < expected.size(); ++p)
      EXPECT_LE(excess(got[p], expected[p], kBound, 0), 0) << ranks << " ranks, prompt " << p;
  }
  EXPECT_EQ(logits(*hidden_on({.stages = 2})), expected);
}

TEST_P(Ranks, StagesChangeNoBit) {
  EXPECT_EQ(logits(*on({.stages = 2})), logits(*on({})));
  EXPECT_EQ(logits(*on({.tensor = 2, .stages = 2})), logits(*on({.tensor = 2})));
}

TEST_P(Ranks, ExpertsInTheFileChangeNoBit) {
  for (const int ranks : {1, 3}) {
    const auto expected = logits(*on({.tensor = ranks}));
    for (const int64_t bytes : {int64_t{0}, int64_t{1} << 17})
      EXPECT_EQ(logits(*holding(bytes, {.tensor = ranks})), expected) << ranks << " ranks";
  }
}

INSTANTIATE_TEST_SUITE_P(Models,
                         Ranks,
                         ::testing::ValuesIn(golden_models(true)),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace quern
