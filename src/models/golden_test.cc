// SPDX-License-Identifier: Apache-2.0
// Every golden model that this build carries, in float32, on the reference kernels and on the
// machine's best ones.
#include <gtest/gtest.h>

#include "models/golden_case.h"
#include "weights/with_config.h"

namespace quern {
namespace {

class Golden : public ::testing::TestWithParam<std::tuple<std::string, Isa>> {
 protected:
  ModelGolden case_{std::get<0>(GetParam()), std::get<1>(GetParam())};

  template <typename Body>
  void for_each_prompt(Body&& body) {
    for (const Json& prompt : case_.prompts()) {
      SCOPED_TRACE(prompt["name"].get<std::string>());
      body(prompt, prompt["name"].get<std::string>());
    }
  }
};

// Keeps what it sees, several media one under the other.
class RowProbe final : public Probe {
 public:
  void record(std::string_view name, int layer, const Tensor& value) override {
    std::vector<float>& rows = seen_[{std::string(name), layer}];
    const Tensor flat = value.contiguous();
    rows.insert(rows.end(), flat.data<float>(), flat.data<float>() + flat.numel());
  }
  const std::vector<float>& rows(const std::string& name, int layer = 0) {
    return seen_[{name, layer}];
  }

 private:
  std::map<std::pair<std::string, int>, std::vector<float>> seen_;
};

// Of each of `windows` windows so many rows as `expected` [windows, rows, D] has; else all.
std::vector<float> first_rows(const std::vector<float>& rows,
                              const Tensor& expected,
                              size_t windows) {
  if (expected.rank() != 3) return rows;
  std::vector<float> out;
  const size_t each = rows.size() / windows,
               wanted = static_cast<size_t>(expected.numel()) / windows;
  for (size_t w = 0; w < windows; ++w)
    out.insert(out.end(),
               rows.begin() + static_cast<std::ptrdiff_t>(w * each),
               rows.begin() + static_cast<std::ptrdiff_t>(w * each + wanted));
  return out;
}

TEST_P(Golden, TowerMatches) {
  int compared = 0;
  for_each_prompt([&](const Json&, const std::string& name) {
    for (const MediaKind kind : kMediaKinds) {
      RowProbe probe;
      const std::vector<MediaInput> media = stored_media(case_, name, kind);
      for (const MediaInput& one : media) case_.model().encode(case_.ctx(), one, &probe);
      for (const std::string field : {"encoder_last_hidden", "embeds"}) {
        if (media.empty()) continue;
        ++compared;
        const Tensor expected = case_.floats(prefix_of(name, kind) + field);
        const std::string shown = (kind == MediaKind::audio ? "audio_" : "image_") + field;
        const std::vector<float> got = first_rows(probe.rows(shown), expected, media.size());
        EXPECT_LE(excess(got, expected.span<float>(), case_.atol, case_.rtol), 0) << field;
      }
    }
  });
  if (compared == 0) GTEST_SKIP() << "neither pixels nor mel frames are stored";
}

TEST_P(Golden, HiddenStatesAndLogitsMatch) {
  for_each_prompt([&](const Json&, const std::string& name) {
    const GoldenPrompt prompt(case_, name);
    SequenceRunner runner(case_.model(), case_.ctx(), static_cast<int64_t>(prompt.ids.size()));
    RowProbe probe;
    const Tensor logits = runner.prefill(prompt.input(), prompt.sample_rows, 0, &probe);
    EXPECT_TRUE(case_.is_close(logits, case_.floats(name + ".logits")));
    const Tensor hidden = case_.floats(name + ".hidden_last_pos");
    const auto width = static_cast<size_t>(hidden.dim(1));
    for (int64_t layer = 0; layer < hidden.dim(0); ++layer) {
      const std::span<const float> rows = probe.rows("hidden", static_cast<int>(layer));
      ASSERT_GE(rows.size(), width);
      EXPECT_LE(
          excess(rows.last(width), hidden.select(0, layer).span<float>(), case_.atol, case_.rtol),
          0)
          << "layer " << layer;
    }
  });
}

TEST_P(Golden, GreedyContinuationMatches) {
  for_each_prompt([&](const Json& expected, const std::string& name) {
    GoldenPrompt prompt(case_, name);
    prompt.leave_out_padding(case_, name);
    const auto ids = expected["greedy_ids"].get<std::vector<int32_t>>();
    const auto margins = expected["greedy_margins"].get<std::vector<double>>();
    const std::vector<int32_t> top_ids = case_.integers(name + ".greedy_top_ids");
    const Tensor top = case_.floats(name + ".greedy_top_logits");
    SequenceRunner runner(
        case_.model(), case_.ctx(), static_cast<int64_t>(prompt.ids.size() + ids.size()));
    const int32_t last = static_cast<int32_t>(prompt.ids.size()) - 1;
    Tensor logits = runner.prefill(prompt.input(), {&last, 1});
    for (size_t step = 0; step < ids.size() && margins[step] >= 2 * case_.atol; ++step) {
      const std::span<const float> row = logits.span<float>();
      ASSERT_EQ(std::ranges::max_element(row) - row.begin(), ids[step]) << "step " << step;
      std::vector<float> best;
      const auto width = static_cast<size_t>(top.dim(1));
      for (size_t i = 0; i < width; ++i)
        best.push_back(row[static_cast<size_t>(top_ids[step * width + i])]);
      EXPECT_LE(excess(best,
                       top.select(0, static_cast<int64_t>(step)).span<float>(),
                       case_.atol,
                       case_.rtol),
                0)
          << "step " << step;
      logits = runner.decode(ids[step], prompt.next_position + static_cast<int32_t>(step));
    }
  });
}

TEST_P(Golden, ChunksAndBlocksChangeNoBit) {
  for_each_prompt([&](const Json&, const std::string& name) {
    const GoldenPrompt prompt(case_, name);
    const auto count = static_cast<int64_t>(prompt.ids.size());
    const Tensor whole = SequenceRunner(case_.model(), case_.ctx(), count)
                             .prefill(prompt.input(), prompt.sample_rows);
    for (const int size : {1, 7, 16}) {
      SequenceRunner small_blocks(case_.model(), case_.ctx(), count, size);
      EXPECT_TRUE(
          std::ranges::equal(small_blocks.prefill(prompt.input(), prompt.sample_rows).span<float>(),
                             whole.span<float>()))
          << "blocks of " << size;
      SequenceRunner chunks(case_.model(), case_.ctx(), count);
      EXPECT_TRUE(
          std::ranges::equal(chunks.prefill(prompt.input(), prompt.sample_rows, size).span<float>(),
                             whole.span<float>()))
          << "chunks of " << size;
    }
  });
}

std::vector<Isa> tiers() {
  const Isa best = probe_topology().isa;
  return best == Isa::scalar ? std::vector<Isa>{best} : std::vector<Isa>{Isa::scalar, best};
}

// Of quantized checkpoints those whose media need no tower: their pixels are not stored.
std::vector<std::string> judged_models() {
  std::vector<std::string> out = golden_models();
  out.push_back("kimi_k2_int4");
  return out;
}

INSTANTIATE_TEST_SUITE_P(Models,
                         Golden,
                         ::testing::Combine(::testing::ValuesIn(judged_models()),
                                            ::testing::ValuesIn(tiers())),
                         [](const auto& info) {
                           return std::get<0>(info.param) + "_" +
                                  std::string(name_of(std::get<1>(info.param)));
                         });

// The logits of a golden prompt with the model made from `config`, and with the one that the file's
// config makes.
std::pair<Tensor, Tensor> logits_of(const std::string& name, const Json& config) {
  ModelGolden original(name, Isa::scalar);
  const std::shared_ptr<const Checkpoint> changed =
      with_config(original.checkpoint(), Config::parse(config.dump(), "config.json"));
  const auto model = make_model(Builder(changed, original.ctx(), {}, original.building()));
  const GoldenPrompt prompt(original, original.prompts().back()["name"].get<std::string>());
  const auto run = [&](const Model& m) {
    SequenceRunner runner(m, original.ctx(), static_cast<int64_t>(prompt.ids.size()));
    return runner.prefill(prompt.input(), prompt.sample_rows);
  };
  return {run(*model), run(original.model())};
}

bool are_equal(const std::pair<Tensor, Tensor>& both) {
  return std::ranges::equal(both.first.span<float>(), both.second.span<float>());
}

// Transformers 5 nests the text model's keys and renames some.
Json newer_layout(Json config) {
  Json text = config;
  for (const char* key : {"architectures", "model_type", "vision_config"}) text.erase(key);
  text["rope_parameters"] = {{"rope_type", "default"},
                             {"rope_theta", text["rope_theta"]},
                             {"mrope_section", text["rope_scaling"]["mrope_section"]}};
  for (const char* key : {"rope_theta", "rope_scaling"}) text.erase(key);
  Json out = {{"text_config", text}};
  for (const char* key : {"architectures", "model_type", "vision_config", "image_token_id"})
    out[key] = config[key];
  out["vision_config"].erase("in_chans");
  out["vision_config"]["in_channels"] = 3;
  return out;
}

TEST(GoldenModels, NewerLayoutsOfTheConfigMeanTheSame) {
  for (const std::string name : {"qwen2_vl", "qwen2_5_vl"}) {
    const Json config = read_json_file(kGoldenFolder + name + "/config.json");
    EXPECT_TRUE(are_equal(logits_of(name, newer_layout(config)))) << name;
  }
}

TEST(GoldenModels, AnOutputMatrixInTheFileIsUsedWhateverTheFlagSays) {
  Json config = read_json_file(kGoldenFolder + "qwen2_untied/config.json");
  config["tie_word_embeddings"] = true;
  EXPECT_TRUE(are_equal(logits_of("qwen2_untied", config)));
}

TEST(GoldenModels, AreFound) {
  EXPECT_GE(golden_models().size(), 7u);
}

}  // namespace
}  // namespace quern
