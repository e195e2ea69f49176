// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "engine/engine_rig.h"
#include "engine/plan_builder.h"

namespace quern {
namespace {

const LogitHook kNoHook;

// Plays the engine: owns groups, carries schedules out by name, and appends a token where one is
// sampled.
class Play {
 public:
  explicit Play(const EngineConfig& config) : config_(config), scheduler_(config_) {}
  ~Play() {
    for (auto& group : groups_) end(*group);
  }

  Group& add(Request request, bool shares = true) {
    auto group = std::make_unique<Group>();
    group->request = std::move(request);
    group->stream = std::make_shared<EventStream>();
    group->arrival = arrivals_++;
    group->shares_blocks = shares;
    group->root = prefix_root("", {});
    for (int i = 0; i < group->request.n; ++i) {
      group->sequences.push_back(
          std::make_unique<Sequence>(*group, i, scheduler_.pool(), config_.block_size, kNoHook));
      scheduler_.add(*group->sequences.back());
    }
    groups_.push_back(std::move(group));
    return *groups_.back();
  }
  void end(Group& group) {
    for (const auto& s : group.sequences)
      if (s->state != SequenceState::finished) scheduler_.remove(*s);
  }

  // Guesses for some of the sequences that need one token.
  void draft(std::mt19937& random) {
    for (auto& group : groups_)
      for (auto& s : group->sequences) {
        s->draft.clear();
        const int64_t room = s->group.request.params.max_tokens - s->output_length() - 1;
        if (s->state != SequenceState::running || s->remaining() != 1 || room < 1) continue;
        for (auto k = static_cast<int64_t>(random() % 5);
             k > 0 && static_cast<int64_t>(s->draft.size()) < room;
             --k)
          s->draft.push_back(
              random() % 2 == 0 ? next_token(*s, static_cast<int64_t>(s->draft.size())) : 7);
      }
  }

  // One step; false when there was nothing to do.
  bool step() {
    last = scheduler_.next();
    if (last.is_empty()) return false;
    check();
    StepPlan::parse(build_plan(last, config_.block_size).serialize());
    scheduler_.complete(last);
    for (const Slice& slice : last.slices) {
      Sequence& s = *slice.sequence;
      if (!slice.samples) continue;
      s.tokens.push_back(next_token(s, 0));
      for (size_t i = 0; i < static_cast<size_t>(slice.drafts) && s.tokens.back() == s.draft[i];
           ++i) {
        scheduler_.accept_draft(s);
        s.tokens.push_back(next_token(s, 0));
      }
      if (s.output_length() >= s.group.request.params.max_tokens) scheduler_.remove(s);
    }
    return true;
  }

  Scheduler& scheduler() { return scheduler_; }
  std::vector<std::unique_ptr<Group>>& groups() { return groups_; }
  std::vector<const Sequence*> order() const {
    std::vector<const Sequence*> sequences;
    for (const Slice& slice : last.slices) sequences.push_back(slice.sequence);
    return sequences;
  }
  Schedule last;

 private:
  static int32_t next_token(const Sequence& s, int64_t ahead) {
    return static_cast<int32_t>(
        mix_bits(static_cast<uint64_t>(s.length() + ahead) + s.group.arrival) % 50);
  }
  void check() {
    int64_t tokens = 0, rows = 0;
    std::map<int32_t, const Sequence*> writers;
    std::set<const Sequence*> seen;
    for (const Slice& slice : last.slices) {
      const Sequence& s = *slice.sequence;
      tokens += slice.count;
      rows += slice.rows;
      ASSERT_GE(slice.rows, (slice.samples ? 1 : 0) + slice.drafts);
      ASSERT_LE(slice.rows, slice.count);
      ASSERT_TRUE(seen.insert(&s).second) << "twice in one step";
      ASSERT_EQ(s.state, SequenceState::running);
      ASSERT_FALSE(s.is_paused);
      ASSERT_EQ(slice.begin, s.computed);
      ASSERT_GE(slice.count, 1);
      ASSERT_LE(slice.end() - slice.drafts, s.length());
      ASSERT_EQ(slice.samples, slice.end() - slice.drafts == s.length());
      ASSERT_LE(slice.begin + slice.count, s.blocks.capacity_tokens());
      for (int64_t i = slice.begin; i < slice.begin + slice.count; ++i) {
        const int32_t block = s.blocks.slot(i) / config_.block_size;
        ASSERT_EQ(scheduler_.pool().references(block), 1) << "a shared block is written to";
        ASSERT_EQ(writers.try_emplace(block, &s).first->second, &s);
      }
    }
    ASSERT_LE(tokens, config_.max_num_batched_tokens);
    ASSERT_LE(rows, config_.most_rows());
    ASSERT_LE(last.slices.size(), static_cast<size_t>(config_.max_num_seqs));
    check_references();
  }
  // Every reference belongs to a table.
  void check_references() {
    std::map<int32_t, int32_t> counts;
    for (const auto& group : groups_)
      for (const auto& s : group->sequences)
        for (const int32_t block : s->blocks.blocks()) ++counts[block];
    ASSERT_EQ(scheduler_.pool().used(), static_cast<int64_t>(counts.size()));
    for (const auto& [block, count] : counts) ASSERT_EQ(scheduler_.pool().references(block), count);
  }

  EngineConfig config_;
  Scheduler scheduler_;
  std::vector<std::unique_ptr<Group>> groups_;
  uint64_t arrivals_ = 0;
};

TEST(Scheduler, DecodesFirstAndFillsUpWithPrefill) {
  EngineConfig config = small_config();
  config.max_num_batched_tokens = 10;
  Play play(config);
  const Sequence* a = play.add(text_request("a", some_ids(1, 25)), false).sequences[0].get();
  const Sequence* b = play.add(text_request("b", some_ids(2, 5)), false).sequences[0].get();
  play.step();
  play.step();
  EXPECT_EQ(play.order(), (std::vector{a}));  // chunks of 10, 10, 5
  play.step();
  EXPECT_EQ(play.order(), (std::vector{a, b}));
  EXPECT_EQ(play.last.slices[0].count, 5);
  const Sequence* c = play.add(text_request("c", some_ids(3, 30)), false).sequences[0].get();
  play.step();
  EXPECT_EQ(play.order(), (std::vector{a, b, c}));
  EXPECT_EQ(play.last.slices[2].count, 8);
}

TEST(Scheduler, SetsBackTheYoungestWhenBlocksRunOut) {
  EngineConfig config = small_config();
  config.num_blocks = 8;
  Play play(config);
  Sequence& a = *play.add(text_request("a", some_ids(1, 11), 20), false).sequences[0];
  Sequence& b = *play.add(text_request("b", some_ids(2, 11), 20), false).sequences[0];
  while (a.state == SequenceState::running || a.length() == 11) {
    ASSERT_TRUE(play.step());
    EXPECT_NE(a.state, SequenceState::waiting);
    if (b.was_set_back) break;
  }
  EXPECT_TRUE(b.was_set_back);
  EXPECT_EQ(b.computed, 0);
  EXPECT_EQ(play.scheduler().preemptions(), 1);
  while (play.step()) {
  }
  EXPECT_EQ(b.output_length(), 20);
}

TEST(Scheduler, PriorityGoesBeforeArrival) {
  EngineConfig config = small_config();
  config.max_num_seqs = 1;
  Play play(config);
  play.add(text_request("late", some_ids(1, 4), 1));
  Request urgent = text_request("urgent", some_ids(2, 4), 1);
  urgent.priority = -1;
  const Sequence* first = play.add(std::move(urgent)).sequences[0].get();
  play.step();
  EXPECT_EQ(play.order(), (std::vector{first}));
}

TEST(Scheduler, ContinuationsWaitForTheFirstToComputeThePrompt) {
  Play play(small_config());
  Request request = text_request("a", some_ids(1, 22));
  request.n = 3;
  const Group& group = play.add(std::move(request));
  play.step();
  EXPECT_EQ(play.last.slices.size(), 1u);
  play.step();
  ASSERT_EQ(play.last.slices.size(), 3u);
  for (size_t i = 1; i < 3; ++i) {
    EXPECT_EQ(play.last.slices[i].begin, 20);
    EXPECT_EQ(play.last.slices[i].count, 2);
    EXPECT_EQ(group.sequences[i]->blocks.blocks()[4], group.sequences[0]->blocks.blocks()[4]);
    EXPECT_NE(group.sequences[i]->blocks.blocks()[5], group.sequences[0]->blocks.blocks()[5]);
  }
}

TEST(Scheduler, ADraftRunsBehindTheLastTokenAndOnlyWhatIsAcceptedStays) {
  EngineConfig config = small_config();
  config.speculation.tokens = 4;
  Play play(config);
  Sequence& s = *play.add(text_request("a", some_ids(1, 6), 20)).sequences[0];
  play.step();
  std::mt19937 random(1);
  int64_t accepted = 0, missed = 0;
  for (int i = 0; i < 4 && s.state == SequenceState::running; ++i) {
    play.draft(random);
    const int64_t before = s.length(), drafted = static_cast<int64_t>(s.draft.size());
    play.step();
    EXPECT_EQ(play.last.slices[0].drafts, drafted);
    EXPECT_EQ(play.last.slices[0].count, drafted + 1);
    EXPECT_EQ(play.last.slices[0].rows, drafted + 1);
    EXPECT_EQ(s.computed, s.length() - 1);
    accepted += s.length() - before - 1;
    missed += drafted - (s.length() - before - 1);
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(missed, 0);
}

TEST(Scheduler, DraftsLeaveRoomForOthers) {
  EngineConfig config = small_config();
  config.speculation.tokens = 4;
  config.max_num_batched_tokens = 8;
  Play play(config);
  Sequence& a = *play.add(text_request("a", some_ids(1, 4), 20), false).sequences[0];
  Sequence& b = *play.add(text_request("b", some_ids(2, 4), 20), false).sequences[0];
  play.step();
  a.draft = b.draft = {7, 7, 7, 7};
  play.add(text_request("c", some_ids(3, 30)), false);
  play.step();
  ASSERT_EQ(play.last.slices.size(), 3u);
  EXPECT_EQ(play.last.slices[0].drafts, 3);  // half of 8 - 2
  EXPECT_EQ(play.last.slices[1].drafts, 0);
  EXPECT_EQ(play.last.slices[2].count, 3);
}

TEST(Scheduler, AResetKeepsNothingOfTheLostWorkers) {
  Play play(small_config());
  Sequence& a = *play.add(picture_request("a", 10, {{2, picture(1, 30)}})).sequences[0];
  play.step();
  EXPECT_GT(a.computed, 0);
  play.scheduler().reset();
  EXPECT_EQ(play.scheduler().pool().used(), 0);
  play.step();
  EXPECT_EQ(play.last.slices[0].begin, 0);
  EXPECT_EQ(play.last.encode.size(), 1u);
}

// Whatever comes, every request ends, no bound is broken, and nothing is left.
TEST(Scheduler, RandomisedInvariants) {
  std::mt19937 random(17);
  for (int round = 0; round < 60; ++round) {
    EngineConfig config = small_config();
    config.block_size = 1 + static_cast<int>(random() % 6);
    config.num_blocks = 80 / config.block_size + 1 + static_cast<int>(random() % 30);
    config.max_num_batched_tokens = 1 + static_cast<int>(random() % 40);
    config.max_num_seqs = 1 + static_cast<int>(random() % 8);
    config.encode_budget_tokens = 1 + static_cast<int>(random() % 20);
    config.long_prefill_token_threshold = round % 3 == 0 ? 1 + static_cast<int>(random() % 9) : 0;
    config.speculation.tokens = round % 2 == 0 ? 4 : 0;
    Play play(config);
    int idle = 0;
    for (int step = 0; step < 3000 && idle < 40; ++step) {
      if (step < 200 && random() % 4 == 0) {
        Request request =
            random() % 3 == 0
                ? picture_request("p",
                                  12,
                                  {{static_cast<int32_t>(random() % 10),
                                    picture(static_cast<float>(random() % 3), 1 + random() % 20)}})
                : text_request("t", some_ids(random() % 3, 1 + static_cast<int>(random() % 50)));
        request.n = 1 + static_cast<int>(random() % 3);
        request.priority = static_cast<int>(random() % 3);
        request.params.max_tokens = 1 + static_cast<int>(random() % 25);
        if (random() % 4 == 0) request.params.prompt_logprobs = 0;
        play.add(std::move(request), random() % 4 != 0);
      }
      if (random() % 50 == 0) play.scheduler().reset();
      if (random() % 30 == 0 && !play.groups().empty())
        play.end(*play.groups()[random() % play.groups().size()]);
      for (const auto& group : play.groups()) {
        const bool is_paused = step < 300 && random() % 8 == 0;
        for (const auto& s : group->sequences) s->is_paused = is_paused;
      }
      if (config.speculation.tokens > 0) play.draft(random);
      idle = play.step() ? 0 : idle + 1;
      ASSERT_FALSE(HasFatalFailure()) << "round " << round << ", step " << step;
    }
    for (const auto& group : play.groups())
      for (const auto& s : group->sequences)
        ASSERT_EQ(s->state, SequenceState::finished) << "round " << round;
    EXPECT_EQ(play.scheduler().pool().used(), 0);
    EXPECT_EQ(play.scheduler().running() + play.scheduler().waiting(), 0u);
    EXPECT_EQ(play.scheduler().media().size(), 0u);
  }
}

}  // namespace
}  // namespace quern
