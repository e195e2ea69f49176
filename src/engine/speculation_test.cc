// SPDX-License-Identifier: Apache-2.0
// Drafts change nothing but the number of steps: tokens, logits, log-probabilities and ends are
// those of an engine without them.
#include <gtest/gtest.h>

#include "engine/engine_rig.h"
#include "sampling/grammar/grammar.h"

namespace quern {
namespace {

// After every token the ids of another remainder by seven may come next, so that a state that was
// asked for a row too many, or too few, shows.
class CountingGrammar : public Grammar {
 public:
  class State : public GrammarState {
   public:
    void fill_mask(std::span<uint32_t> words) override {
      for (size_t t = 0; t < words.size() * 32; ++t)
        words[t / 32] = (words[t / 32] & ~(1u << t % 32)) |
                        (allows(static_cast<int32_t>(t)) ? 1u << t % 32 : 0);
    }
    bool accept(int32_t token) override { return allows(token) && ++accepted_ > 0; }
    void rollback(int tokens) override { accepted_ -= tokens; }
    bool is_finished() const override { return false; }

   private:
    bool allows(int32_t token) const { return token % 7 != accepted_ % 7; }
    int accepted_ = 0;
  };
  std::unique_ptr<GrammarState> start() const override { return std::make_unique<State>(); }
  size_t memory_bytes() const override { return 0; }
};

// A text that repeats itself, but not always: drafts are accepted whole, in part and not at all.
void repeat(std::span<float> logits, std::span<const int32_t> history) {
  const size_t place = history.size();
  logits[place % 13 == 0 ? mix_bits(place) % 80 : place % 5] += 7;
}

EngineConfig speculative_config(int tokens = 4) {
  EngineConfig config = small_config();
  config.logit_hook = repeat;
  config.speculation = {.tokens = tokens, .lookup_min = 1, .lookup_max = 4};
  return config;
}

std::vector<Request> mixture() {
  std::vector<Request> requests;
  for (int i = 0; i < 14; ++i) {
    Request request = text_request(
        format("r{}", i), some_ids(static_cast<uint64_t>(i / 3), 3 + i * 7 % 30), 20 + 3 * i);
    SamplingParams& p = request.params;
    if (i % 2 == 1) {
      p.temperature = i % 4 == 1 ? 1 : 0.4;
      p.seed = static_cast<uint64_t>(i);
    }
    if (i % 3 == 1) p.logprobs = 2;
    if (i == 2 || i == 7) p.frequency_penalty = 0.3;
    if (i == 4) p.repetition_penalty = 1.2;
    if (i == 5 || i == 9) request.n = 3;
    if (i % 4 == 2) p.stop_token_ids = {3, 17};
    if (i == 6) p.min_tokens = 15;
    if (i == 8) p.bad_words = {{1, 2}};
    if (i == 10) p.allowed_token_ids = {0, 1, 2, 3, 4};
    if (i == 11) p.prompt_logprobs = 1;
    if (i == 13 || i == 3) p.grammar = std::make_shared<CountingGrammar>();
    if (i == 12) {
      Request with_picture = picture_request(request.id, 20, {{3, picture(0.5f, 9)}});
      with_picture.params = p;
      request = std::move(with_picture);
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<Answer> without_drafts() {
  EngineRig rig(speculative_config(0));
  std::vector<Answer> answers;
  for (Request& request : mixture()) answers.push_back(rig.run(std::move(request)));
  EXPECT_EQ(rig.engine->stats().speculation.drafts, 0);
  return answers;
}

EngineStats expect_same(const EngineConfig& config,
                        const std::string& what,
                        std::set<uint64_t> lose_at = {}) {
  static const std::vector<Answer> expected = without_drafts();
  EngineRig rig(config);
  {
    const std::lock_guard lock(rig.log.mutex);
    rig.log.lose_at = std::move(lose_at);
  }
  std::vector<std::pair<std::shared_ptr<EventStream>, int>> streams;
  for (Request& request : mixture()) {
    const int n = request.n;
    streams.emplace_back(rig.engine->submit(std::move(request)), n);
  }
  for (size_t i = 0; i < streams.size(); ++i)
    EXPECT_EQ(collect(*streams[i].first, streams[i].second), expected[i])
        << what << ", request " << i;
  rig.expect_nothing_left();
  const std::lock_guard lock(rig.log.mutex);
  EXPECT_LE(rig.log.most_tokens, static_cast<size_t>(config.max_num_batched_tokens)) << what;
  EXPECT_LE(rig.log.most_rows, static_cast<size_t>(config.most_rows())) << what;
  return rig.engine->stats();
}

TEST(Speculation, DraftsAreTriedAndCounted) {
  for (const int tokens : {1, 2, 4, 16}) {
    const SpeculationStats s =
        expect_same(speculative_config(tokens), format("{} tokens", tokens)).speculation;
    EXPECT_GT(s.accepted_tokens, 0);
    EXPECT_LT(s.accepted_tokens, s.draft_tokens);
    EXPECT_LE(s.draft_tokens, s.drafts * tokens);
    int64_t sum = 0;
    for (int i = 0; i < SpeculationConfig::kMostTokens; ++i) {
      sum += s.accepted_per_position[i];
      EXPECT_LE(s.accepted_per_position[i], s.accepted_per_position[std::max(i - 1, 0)]);
      EXPECT_LE(s.accepted_per_position[i], i < tokens ? s.drafts : 0);
    }
    EXPECT_EQ(sum, s.accepted_tokens);
  }
}

TEST(Speculation, TakesFewerSteps) {
  const auto steps_of = [](int tokens) {
    EngineRig rig(speculative_config(tokens));
    rig.run(text_request("a", some_ids(1, 5), 150));
    return rig.engine->stats().steps;
  };
  EXPECT_LT(steps_of(4) * 3, steps_of(0) * 2);
}

TEST(Speculation, InAnyCompanyChunkBlockAndCache) {
  for (const int tokens : {1, 2, 5, 17, 1000}) {
    EngineConfig config = speculative_config();
    config.max_num_batched_tokens = tokens;
    expect_same(config, format("{} tokens a step", tokens));
  }
  for (const int size : {1, 3, 16}) {
    EngineConfig config = speculative_config();
    config.block_size = size;
    config.max_num_seqs = size + 1;
    config.enable_prefix_caching = size != 3;
    expect_same(config, format("blocks of {}", size));
  }
}

TEST(Speculation, ThroughPreemptionsAndLosses) {
  int64_t preemptions = 0;
  for (const bool has_cache : {true, false}) {
    EngineConfig config = speculative_config();
    config.block_size = 2;
    config.num_blocks = 60;
    config.enable_prefix_caching = has_cache;
    const EngineStats stats = expect_same(config, format("few blocks, cache {}", has_cache));
    preemptions += stats.preemptions;
    EXPECT_GT(stats.speculation.accepted_tokens, 0);
  }
  EXPECT_GT(preemptions, 0);
  for (const uint64_t first : {2, 9})
    expect_same(speculative_config(), format("lost at {}", first), {first, first + 3});
}

// What the prefix cache finds behind drafts is what an engine without them would have computed.
TEST(Speculation, OnlyAcceptedBlocksArePublished) {
  EngineRig with(speculative_config()), without(speculative_config(0));
  std::vector<int32_t> ids = some_ids(3, 9);
  for (int turn = 0; turn < 5; ++turn) {
    const Answer answer = with.run(text_request("a", ids, 21));
    EXPECT_EQ(answer, without.run(text_request("a", ids, 21)));
    EXPECT_GE(answer.cached_tokens, turn == 0 ? 0 : static_cast<int32_t>(ids.size()) - 5);
    ids.insert(ids.end(), answer.tokens[0].begin(), answer.tokens[0].end());
    ids.push_back(static_cast<int32_t>(50 + turn));
  }
  EXPECT_GT(with.engine->stats().speculation.accepted_tokens, 0);
}

TEST(Speculation, ATextWithoutRepetitionIsSoonLeftAlone) {
  EngineConfig config = small_config();  // tokens are a hash: what repeats is chance
  config.max_model_len = 1000;
  config.speculation = {.tokens = 4, .lookup_min = 1, .lookup_max = 1};
  EngineRig rig(config);
  rig.run(text_request("a", some_ids(1, 30), 900));
  const EngineStats stats = rig.engine->stats();
  EXPECT_GT(stats.speculation.drafts, 5);
  EXPECT_LT(stats.speculation.drafts, 250);
}

}  // namespace
}  // namespace quern
