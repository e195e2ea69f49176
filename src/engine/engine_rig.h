// SPDX-License-Identifier: Apache-2.0
// An engine over a FakeModel, for tests. Every plan goes through its byte form, and is checked on
// its way.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <semaphore>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/fake_model.h"
#include "engine/local_executor.h"

namespace quern {

// A clock that another thread may read while the test moves it.
class SharedClock : public Clock {
 public:
  int64_t now_us() const override { return now_us_; }
  void advance_us(int64_t us) { now_us_ += us; }

 private:
  std::atomic<int64_t> now_us_ = 1;
};

// What the plans said, over all executors of a rig.
struct PlanLog {
  std::mutex mutex;
  std::multiset<Hash128> encoded;  // over all time
  std::set<Hash128> held;          // now, on the worker
  size_t most_tokens = 0, most_sequences = 0, most_rows = 0, plans = 0;
  std::set<uint64_t> lose_at;  // plan numbers, counted from 1, whose workers are lost
};

// Lets a FakeModel take as many steps as the test allows.
class Gate {
 public:
  explicit Gate(FakeModel& model) {
    model.before_forward = [this](const Batch&) {
      if (!is_open_) steps_.acquire();
    };
  }
  void allow(int steps) { steps_.release(steps); }
  void open() {
    is_open_ = true;
    steps_.release();
  }

 private:
  std::counting_semaphore<> steps_{0};
  std::atomic<bool> is_open_ = false;
};

class CheckedExecutor : public Executor {
 public:
  CheckedExecutor(std::unique_ptr<Executor> inner, PlanLog& log)
      : inner_(std::move(inner)), log_(log) {
    const std::lock_guard lock(log_.mutex);
    log_.held.clear();
  }
  void submit(StepPlan plan) override {
    plan = StepPlan::parse(plan.serialize());
    const std::lock_guard lock(log_.mutex);
    note(plan);
    is_lost_ = log_.lose_at.contains(++log_.plans);
    inner_->submit(std::move(plan));
  }
  bool wait(StepResult& result, int timeout_ms) override {
    if (is_lost_) fail(ErrorCode::unavailable, "the worker died");
    return inner_->wait(result, timeout_ms);
  }

 private:
  void note(const StepPlan& plan) {
    for (const EncodeTask& task : plan.encode) {
      log_.encoded.insert(task.hash);
      log_.held.insert(task.hash);
    }
    for (const MediaUse& use : plan.media) EXPECT_TRUE(log_.held.contains(use.hash));
    for (const Hash128& hash : plan.release) log_.held.erase(hash);
    log_.most_tokens = std::max(log_.most_tokens, plan.batch.tokens.size());
    log_.most_rows = std::max(log_.most_rows, plan.batch.sample_rows.size());
    log_.most_sequences =
        std::max(log_.most_sequences, static_cast<size_t>(plan.batch.sequence_count()));
    std::set<int32_t> slots(plan.batch.slots.begin(), plan.batch.slots.end());
    EXPECT_EQ(slots.size(), plan.batch.slots.size()) << "two tokens are stored in one place";
  }

  std::unique_ptr<Executor> inner_;
  PlanLog& log_;
  bool is_lost_ = false;
};

struct Answer {
  std::vector<std::vector<int32_t>> tokens;  // by choice
  std::vector<std::vector<uint64_t>> hashes;
  std::vector<std::vector<std::vector<TokenLogprob>>> logprobs;
  std::vector<TokenEvent> ends;  // by choice; token events included
  int32_t cached_tokens = 0;     // of choice 0
  int score_events = 0;
  std::vector<PromptLogprob> scores;
  bool operator==(const Answer& other) const {
    for (size_t i = 0; i < ends.size() && i < other.ends.size(); ++i)
      if (ends[i].finish != other.ends[i].finish || ends[i].stop_token != other.ends[i].stop_token)
        return false;
    return tokens == other.tokens && hashes == other.hashes && logprobs == other.logprobs &&
           scores == other.scores;
  }
};

inline Answer collect(EventStream& stream, int n = 1) {
  Answer answer;
  const auto count = static_cast<size_t>(n);
  answer.tokens.resize(count);
  answer.hashes.resize(count);
  answer.logprobs.resize(count);
  answer.ends.resize(count);
  TokenEvent event;
  while (!stream.is_finished()) {
    if (!stream.pop(event, 20'000)) {
      EXPECT_TRUE(stream.is_finished()) << "nothing came for 20 seconds";
      break;
    }
    const auto choice = static_cast<size_t>(event.choice);
    if (event.token >= 0) {
      if (choice == 0 && answer.tokens[0].empty()) answer.cached_tokens = event.cached_tokens;
      answer.tokens[choice].push_back(event.token);
      answer.hashes[choice].push_back(event.logits_hash);
      answer.logprobs[choice].push_back(event.logprobs);
    }
    if (event.finish != FinishReason::none) {
      answer.ends[choice] = event;
    } else if (event.token < 0) {
      ++answer.score_events;
      for (const auto& tokens : answer.tokens) EXPECT_TRUE(tokens.empty()) << "scores come first";
      answer.scores = std::move(event.prompt_logprobs);
    }
  }
  return answer;
}

inline EngineConfig small_config() {
  EngineConfig config;
  config.max_model_len = 200;
  config.max_num_seqs = 16;
  config.max_num_batched_tokens = 64;
  config.block_size = 4;
  config.num_blocks = 400;
  config.vocab_size = FakeModel::kVocab;
  return config;
}

inline Request text_request(const std::string& id, std::vector<int32_t> ids, int max_tokens = 12) {
  auto prompt = std::make_shared<Prompt>();
  prompt->ids = std::move(ids);
  for (size_t i = 0; i < prompt->ids.size(); ++i)
    prompt->positions.push_back(static_cast<int32_t>(i));
  Request request;
  request.id = id;
  request.prompt = std::move(prompt);
  request.params.temperature = 0;
  request.params.max_tokens = max_tokens;
  request.hash_logits = true;
  return request;
}

// `length` ids that depend on `seed`.
inline std::vector<int32_t> some_ids(uint64_t seed, int length) {
  std::vector<int32_t> ids;
  for (int i = 0; i < length; ++i)
    ids.push_back(static_cast<int32_t>(mix_bits(seed * 1000 + static_cast<uint64_t>(i)) % 80));
  return ids;
}

// A picture whose content is `value`.
inline std::shared_ptr<const MediaInput> picture(float value, int64_t tokens) {
  auto media = std::make_shared<MediaInput>();
  media->values = {value};
  media->rows = media->row_size = 1;
  media->grid_h = media->grid_w = 1;
  media->tokens = tokens;
  media->hash = hash_bytes(std::as_bytes(std::span(media->values)), static_cast<uint64_t>(tokens));
  return media;
}

// Text with pictures at the given places, on three axes.
inline Request picture_request(
    const std::string& id,
    int text,
    const std::vector<std::pair<int32_t, std::shared_ptr<const MediaInput>>>& pictures) {
  Request request = text_request(id, some_ids(5, text));
  auto prompt = std::make_shared<Prompt>(*request.prompt);
  for (const auto& [first, media] : pictures) {
    prompt->media.push_back({media, first, static_cast<int32_t>(media->tokens)});
    prompt->ids.insert(
        prompt->ids.begin() + first, static_cast<size_t>(media->tokens), FakeModel::kImageToken);
  }
  prompt->axes = 3;
  prompt->positions.clear();
  for (int32_t axis = 0; axis < 3; ++axis)
    for (size_t i = 0; i < prompt->ids.size(); ++i)
      prompt->positions.push_back(static_cast<int32_t>(i) / (1 + axis));
  prompt->rope_delta = -2;
  request.prompt = std::move(prompt);
  return request;
}

class EngineRig {
  // First: a cancelled request's last step may still write here when the engine is being ended.
  Arena arena_{Device::cpu(), 1 << 20};
  Ctx ctx_;

 public:
  explicit EngineRig(EngineConfig config = small_config(),
                     std::shared_ptr<FakeModel> fake = std::make_shared<FakeModel>())
      : model(std::move(fake)) {
    ctx_.device = Device::cpu();
    ctx_.arena = &arena_;
    engine = std::make_unique<Engine>(
        config, [this, config](uint64_t epoch) { return make_executor(epoch, config); }, clock);
  }

  Answer run(Request request) {
    const int n = request.n;
    return collect(*engine->submit(std::move(request)), n);
  }
  void expect_nothing_left() {
    const EngineStats stats = engine->stats();
    EXPECT_EQ(stats.blocks_used, 0);
    EXPECT_EQ(stats.running, 0);
    EXPECT_EQ(stats.waiting, 0);
    EXPECT_EQ(stats.last_step_age_us, 0);
  }

  PlanLog log;
  SharedClock clock;
  std::shared_ptr<FakeModel> model;
  std::unique_ptr<Engine> engine;
  bool refuses_executors = false;

 private:
  std::unique_ptr<Executor> make_executor(uint64_t epoch, const EngineConfig& config) {
    if (refuses_executors) fail(ErrorCode::unavailable, "no machine");
    auto kv = std::make_shared<KvCache>(
        model->kv_spec(), config.num_blocks, config.block_size, Device::cpu());
    return std::make_unique<CheckedExecutor>(
        make_local_executor(epoch, {model, ctx_, std::move(kv)}), log);
  }
};

}  // namespace quern
