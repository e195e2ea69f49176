// SPDX-License-Identifier: Apache-2.0
#include "plan/simulator.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <random>
#include <unordered_map>

#include "base/error.h"
#include "engine/sequence.h"

namespace quern {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Ids that no other request has, but for a shared prefix; the prefix cache looks at nothing else.
std::shared_ptr<const Prompt> prompt_of(const SimulatedRequest& request, size_t number) {
  auto out = std::make_shared<Prompt>();
  const auto id = [](uint64_t whose, int64_t position) {
    uint64_t x = (whose + 1) * 0x9e3779b97f4a7c15ull + static_cast<uint64_t>(position);
    x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9ull;
    return static_cast<int32_t>((x ^ (x >> 29)) & 0x3fffffff);
  };
  for (int64_t i = 0; i < request.input_tokens; ++i) {
    out->ids.push_back(i < request.prefix_tokens ? id(~request.prefix, i) : id(number, i));
    out->positions.push_back(static_cast<int32_t>(i));
  }
  return out;
}

class Server {
 public:
  Server(const SimulationOptions& options, uint64_t seed)
      : options_(options), scheduler_(options_.engine), random_(seed) {
    plan_failure();
  }

  size_t unfinished() const { return groups_.size(); }
  int64_t steps() const { return steps_; }
  double busy_s() const { return busy_s_; }
  double most_blocks_share() const { return most_blocks_share_; }
  int64_t failures() const { return failures_; }
  int64_t preemptions() const { return scheduler_.preemptions(); }
  int64_t cached_tokens() const { return cached_tokens_; }

  // Steps that begin before `until`. One that is under way then ends later: what arrives meanwhile
  // waits for the next.
  void advance(double until, std::vector<SimulatedAnswer>& answers) {
    while (now_ < until && !groups_.empty() && step(answers)) {
    }
  }

  void add(const SimulatedRequest& request, size_t number) {
    now_ = std::max(now_, request.at_s);
    auto group = std::make_unique<Group>();
    group->request.prompt = prompt_of(request, number);
    group->request.params.max_tokens = static_cast<int>(request.output_tokens);
    group->arrival = number;
    group->unfinished = 1;
    group->shares_blocks = options_.engine.enable_prefix_caching;
    group->root = prefix_root({}, {});
    group->sequences.push_back(std::make_unique<Sequence>(
        *group, 0, scheduler_.pool(), options_.engine.block_size, options_.engine.logit_hook));
    scheduler_.add(*group->sequences.back());
    groups_.emplace(number, std::move(group));
  }

 private:
  void plan_failure() {
    next_failure_s_ =
        options_.failure_s > 0
            ? now_ + std::exponential_distribution<double>(1 / options_.failure_s)(random_)
            : kNever;
  }

  // All keys and values are gone: what runs begins again, with the tokens it has.
  void fail_now() {
    ++failures_;
    scheduler_.reset();
    now_ = std::max(now_, next_failure_s_) + options_.recovery_s;
    plan_failure();
  }

  bool step(std::vector<SimulatedAnswer>& answers) {
    ended_.clear();
    if (now_ >= next_failure_s_) fail_now();
    const Schedule schedule = scheduler_.next();
    if (schedule.is_empty()) return false;
    const double took = options_.cost.seconds(shape_of(schedule));
    if (now_ + took > next_failure_s_) {  // the step is lost with the workers
      fail_now();
      return true;
    }
    now_ += took;
    busy_s_ += took;
    ++steps_;
    most_blocks_share_ = std::max(most_blocks_share_,
                                  static_cast<double>(scheduler_.pool().used()) /
                                      static_cast<double>(scheduler_.pool().size()));
    scheduler_.complete(schedule);
    for (const Slice& slice : schedule.slices)
      if (slice.samples) take(*slice.sequence, answers);
    return true;
  }

  void take(Sequence& s, std::vector<SimulatedAnswer>& answers) {
    SimulatedAnswer& answer = answers[s.group.arrival];
    if (answer.output_tokens == 0) {
      answer.first_s = now_ + options_.request_s;
      cached_tokens_ += s.cached_tokens;
    }
    s.tokens.push_back(
        static_cast<int32_t>((s.group.arrival * 7919 + s.tokens.size()) & 0x3fffffff));
    if (++answer.output_tokens < s.group.request.params.max_tokens) return;
    answer.end_s = now_ + options_.request_s;
    scheduler_.remove(s);
    const auto it = groups_.find(s.group.arrival);
    ended_.push_back(std::move(it->second));  // slices of this step point into it
    groups_.erase(it);
  }

  const SimulationOptions& options_;
  Scheduler scheduler_;
  std::mt19937_64 random_;
  std::unordered_map<uint64_t, std::unique_ptr<Group>> groups_;
  std::vector<std::unique_ptr<Group>> ended_;  // in the step at hand
  double now_ = 0, busy_s_ = 0, next_failure_s_ = kNever, most_blocks_share_ = 0;
  int64_t steps_ = 0, failures_ = 0, cached_tokens_ = 0;
};

void expect_possible(const EngineConfig& c, const SimulatedRequest& r) {
  const int64_t length = r.input_tokens + r.output_tokens;
  if (r.input_tokens < 1 || r.output_tokens < 1 || r.at_s < 0)
    fail(ErrorCode::invalid_argument,
         "a request of {} and {} tokens at {} s: expected at least one of each",
         r.input_tokens,
         r.output_tokens,
         r.at_s);
  if (length > c.max_model_len || (length + c.block_size - 1) / c.block_size > c.num_blocks)
    fail(ErrorCode::invalid_argument,
         "a request of {} and {} tokens never fits: --max-model-len {}, {} blocks of {}",
         r.input_tokens,
         r.output_tokens,
         c.max_model_len,
         c.num_blocks,
         c.block_size);
}

}  // namespace

SimulationResult simulate(const SimulationOptions& options,
                          const std::vector<SimulatedRequest>& requests) {
  options.engine.validate();
  SimulationResult out;
  std::vector<std::unique_ptr<Server>> servers;
  for (int i = 0; i < options.replicas; ++i)
    servers.push_back(
        std::make_unique<Server>(options, options.seed * 1'000'003 + static_cast<uint64_t>(i)));
  for (const SimulatedRequest& r : requests) {
    expect_possible(options.engine, r);
    out.answers.push_back({.at_s = r.at_s});
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    for (const auto& server : servers) server->advance(requests[i].at_s, out.answers);
    const auto idlest = std::ranges::min_element(
        servers, {}, [](const auto& server) { return server->unfinished(); });
    (*idlest)->add(requests[i], i);
  }
  double busy_s = 0;
  for (const auto& server : servers) {
    server->advance(kNever, out.answers);
    QUERN_CHECK(server->unfinished() == 0, "{} requests never ended", server->unfinished());
    busy_s += server->busy_s();
    out.steps += server->steps();
    out.preemptions += server->preemptions();
    out.failures += server->failures();
    out.cached_tokens += server->cached_tokens();
    out.most_blocks_share = std::max(out.most_blocks_share, server->most_blocks_share());
  }
  for (const SimulatedAnswer& answer : out.answers)
    out.duration_s = std::max(out.duration_s, answer.end_s);
  if (out.duration_s > 0)
    out.busy_share = busy_s / (out.duration_s * static_cast<double>(options.replicas));
  return out;
}

}  // namespace quern
