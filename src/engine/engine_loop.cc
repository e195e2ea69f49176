// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_loop.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "engine/plan_builder.h"

namespace quern {
namespace {

constexpr int kDeadlineLookMs = 10;  // when nothing runs but deadlines pass

TokenEvent failure(const Error& error) {
  TokenEvent event;
  event.finish = FinishReason::error;
  event.error_code = error.code();
  event.error = error.what();
  return event;
}

TokenEvent cancellation() {
  TokenEvent event;
  event.finish = FinishReason::cancelled;
  return event;
}

}  // namespace

EngineLoop::EngineLoop(const EngineConfig& config,
                       Workforce& workforce,
                       Inbox& inbox,
                       RequestBook& book,
                       const Clock& clock)
    : config_(config),
      workforce_(workforce),
      inbox_(inbox),
      book_(book),
      clock_(clock),
      scheduler_(config) {}

void EngineLoop::stop() {
  should_stop_ = true;
  inbox_.stop();
}

void EngineLoop::run() {
  bool did_work = true;
  while (!should_stop_) {
    obey(inbox_.take(patience_ms(did_work)));
    if (should_stop_) break;
    look_at_workers();
    expire_deadlines();
    look_at_consumers();
    publish_stats();
    did_work = step();
    ended_.clear();
  }
  obey(inbox_.take(0));
  end_all(failure(Error(ErrorCode::unavailable, "the server is shutting down")));
}

// Without work the thread sleeps until somebody posts, or a consumer catches up.
int EngineLoop::patience_ms(bool did_work) const {
  if (did_work) return 0;
  const bool has_deadline = std::any_of(groups_.begin(), groups_.end(), [](const auto& g) {
    return g.second->request.deadline_us != 0;
  });
  return has_deadline ? kDeadlineLookMs : -1;
}

void EngineLoop::obey(Commands commands) {
  for (Submission& submission : commands.submissions) add(std::move(submission));
  for (const std::string& id : commands.cancels)
    if (const auto it = groups_.find(id); it != groups_.end())
      end_group(*it->second, cancellation());
}

void EngineLoop::add(Submission submission) {
  auto group = std::make_unique<Group>();
  group->request = std::move(submission.request);
  group->stream = std::move(submission.stream);
  group->arrival = arrivals_++;
  group->unfinished = group->request.n;
  group->pooling = config_.pooling;
  // Without a prefix cache only the continuations of one request share.
  group->shares_blocks = config_.enable_prefix_caching || group->request.n > 1;
  group->root = prefix_root(
      config_.enable_prefix_caching ? group->request.cache_salt : std::to_string(group->arrival),
      {});
  for (int choice = 0; choice < group->request.n; ++choice) {
    group->sequences.push_back(std::make_unique<Sequence>(
        *group, choice, scheduler_.pool(), config_.block_size, config_.logit_hook));
    scheduler_.add(*group->sequences.back());
  }
  const auto [it, is_new] = groups_.emplace(group->request.id, std::move(group));
  QUERN_CHECK(is_new, "request {} is known already", it->first);
  if (!workforce_.is_healthy())
    end_group(*it->second, failure(Error(ErrorCode::unavailable, "the workers are lost")));
  else if (is_stalled_)
    end_group(*it->second, failure(Error(ErrorCode::unavailable, "a step does not return")));
}

void EngineLoop::expire_deadlines() {
  const int64_t now = clock_.now_us();
  std::vector<Group*> late;
  for (const auto& [id, group] : groups_)
    if (group->request.deadline_us != 0 && now >= group->request.deadline_us)
      late.push_back(group.get());
  for (Group* group : late)
    end_group(*group, failure(Error(ErrorCode::unavailable, "the request's deadline has passed")));
}

void EngineLoop::look_at_consumers() {
  has_work_ = false;
  for (const auto& [id, group] : groups_) {
    const bool is_paused = !group->stream->has_room();
    has_work_ |= !is_paused;
    for (const auto& s : group->sequences) s->is_paused = is_paused;
  }
}

// A draft that missed costs a row: after some in a row the next tries are further apart.
void EngineLoop::guess() {
  constexpr int kMostRest = 4;  // 2^4 steps
  if (config_.speculation.tokens == 0) return;
  for (const auto& [id, group] : groups_)
    for (const auto& s : group->sequences) {
      s->draft.clear();
      if (s->state != SequenceState::running || s->is_paused || s->remaining() != 1) continue;
      if (s->draft_rest > 0) {
        --s->draft_rest;
        continue;
      }
      const int64_t room = std::min(group->request.params.max_tokens - s->output_length(),
                                    config_.max_model_len - s->length());
      const int64_t most = std::min<int64_t>(config_.speculation.tokens, room - 1);
      s->draft = draft_of(s->tokens, config_.speculation, most);
      if (!s->draft.empty()) s->draft_rest = (1 << std::min(s->draft_misses, kMostRest)) - 1;
    }
}

bool EngineLoop::step() {
  guess();
  Schedule schedule = scheduler_.next();
  if (schedule.is_empty()) return false;
  try {
    carry_out(schedule);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::unavailable) {
      replace_workers(e);
    } else {
      fail_step(schedule, e);
    }
  } catch (const std::exception& e) {
    fail_step(schedule, Error(ErrorCode::internal, e.what()));
  }
  end_stall();
  return true;
}

// While a step is under way: requests end that are cancelled or late. Their slices stay in the
// schedule, and nobody else gets their blocks before the step has returned.
bool EngineLoop::look_around(int64_t began_us) {
  obey(inbox_.take(0));
  expire_deadlines();
  const int64_t age_us = clock_.now_us() - began_us;
  if (config_.step_timeout_us > 0 && age_us > config_.step_timeout_us && !is_stalled_)
    stall(age_us);
  return !should_stop_;
}

// Workers that are processes are replaced, as lost ones are. A thread cannot be ended: it is waited
// for, but by nobody's request.
void EngineLoop::stall(int64_t age_us) {
  const Error error(
      ErrorCode::unavailable,
      format("step {} has not returned for {:.0f} s", steps_, static_cast<double>(age_us) * 1e-6));
  if (workforce_.is_replaceable()) throw Error(error);
  log(LogLevel::error, "engine stalled step={} reason=\"{}\"", steps_, error.what());
  ++counts_.stalls;
  is_stalled_ = true;
  end_all(failure(error));
  publish_stats();
}

void EngineLoop::end_stall() {
  if (!is_stalled_) return;
  log(LogLevel::warn, "engine goes on: step {} has returned", steps_);
  is_stalled_ = false;
}

void EngineLoop::carry_out(Schedule& schedule) {
  for (const Slice& slice : schedule.slices) note_start(slice);
  const int64_t planned_us = clock_.now_us();
  const StepShape shape = shape_of(schedule);  // before its sequences grow
  StepPlan plan = build_plan(schedule, config_.block_size);
  plan.epoch = workforce_.epoch();
  plan.step = ++steps_;
  const size_t rows = plan.batch.sample_rows.size();
  StepResult result;
  const int64_t began_us = clock_.now_us();
  if (!workforce_.run(std::move(plan), result, [&] { return look_around(began_us); })) return;
  if (result.rows.size() != rows * static_cast<size_t>(result.row_size) ||
      (rows > 0 && result.row_size < 1))
    fail(ErrorCode::internal,
         "step {}: expected {} rows of {} values, got {} values",
         steps_,
         rows,
         result.row_size,
         result.rows.size());
  accept(schedule, result);
  if (config_.on_step) config_.on_step(shape, clock_.now_us() - planned_us);
}

void EngineLoop::note_start(const Slice& slice) {
  const Sequence& s = *slice.sequence;
  if (s.choice == 0 && s.output_length() == 0) book_.started(s.group.request.id);
}

void EngineLoop::accept(const Schedule& schedule, StepResult& result) {
  scheduler_.complete(schedule);
  ++counts_.steps;
  counts_.encode_us += result.encode_us;
  const auto vocab = static_cast<size_t>(result.row_size);
  std::span<float> rows(result.rows);
  for (const Slice& slice : schedule.slices) {
    const size_t count = static_cast<size_t>(slice.rows) * vocab;
    const auto own = rows.first(count);
    rows = rows.subspan(count);
    if (slice.rows == 0 || slice.sequence->state == SequenceState::finished)
      continue;  // another choice of its request failed
    try {
      take(slice, own, vocab);
    } catch (const NumericError& e) {
      ++counts_.numeric_errors;
      TokenEvent last = failure(e);
      last.error_reason = "numeric_error";
      end_group(slice.sequence->group, last);
    } catch (const Error& e) {
      end_group(slice.sequence->group, failure(e));
    }
  }
}

void EngineLoop::take(const Slice& slice, std::span<float> logits, size_t vocab) {
  if (config_.pooling) return pool(slice, logits, vocab);
  Sequence& s = *slice.sequence;
  if (s.choice == 0 && !s.group.has_sent_scores) score(slice, logits, vocab);
  if (!slice.samples) return;
  const auto own = logits.last(static_cast<size_t>(1 + slice.drafts) * vocab);
  sample(s, own.first(vocab));
  if (slice.drafts > 0) verify(slice, own.subspan(vocab), vocab);
}

// The sampler has the word, with the history and the random numbers of a step without drafts: a
// draft token only tells whether the next row was computed behind the right token.
void EngineLoop::verify(const Slice& slice, std::span<float> logits, size_t vocab) {
  Sequence& s = *slice.sequence;
  SpeculationStats& stats = counts_.speculation;
  ++stats.drafts;
  stats.draft_tokens += slice.drafts;
  int64_t accepted = 0;
  while (accepted < slice.drafts && s.tokens.back() == s.draft[static_cast<size_t>(accepted)]) {
    ++stats.accepted_tokens;
    ++stats.accepted_per_position[accepted++];
    if (s.state == SequenceState::finished) break;
    scheduler_.accept_draft(s);
    sample(s, logits.first(vocab));
    logits = logits.subspan(vocab);
  }
  s.draft_misses = accepted > 0 ? 0 : s.draft_misses + 1;
  if (accepted > 0) s.draft_rest = 0;
}

// Rows come in the order of their tokens, each once: a prompt that was set back goes on behind
// those that were taken.
void EngineLoop::pool(const Slice& slice, std::span<const float> rows, size_t size) {
  Sequence& s = *slice.sequence;
  for (int64_t row = 0; row < slice.rows; ++row)
    s.group.pooled.add(rows.subspan(static_cast<size_t>(row) * size, size));
  const bool is_complete = config_.pooling == PoolingType::last ? slice.samples : !s.is_scoring();
  if (!is_complete) return;
  TokenEvent event;
  event.pooled = s.group.pooled.mean();
  event.finish = FinishReason::stop;
  event.cached_tokens = s.cached_tokens;
  counts_.cached_tokens += s.cached_tokens;
  counts_.prompt_tokens += s.length();
  end_sequence(s, std::move(event));
}

// Rows of a prompt become log-probabilities at once: they are never held together.
void EngineLoop::score(const Slice& slice, std::span<const float> logits, size_t vocab) {
  Sequence& s = *slice.sequence;
  const SamplingParams& params = s.group.request.params;
  if (params.prompt_logprobs < 0) return;
  const auto& ids = s.prompt().ids;
  if (config_.vocab_size != static_cast<int64_t>(vocab))
    params.validate(static_cast<int64_t>(vocab));
  const int64_t end = std::min(slice.end(), s.rows_to_score());
  for (int64_t row = slice.end() - slice.rows; row < end; ++row) {
    s.group.scores.push_back(prompt_logprob(
        logits.first(vocab), ids[static_cast<size_t>(row) + 1], params.prompt_logprobs));
    logits = logits.subspan(vocab);
  }
  if (!s.is_scoring()) send_scores(s.group);
}

void EngineLoop::send_scores(Group& group) {
  TokenEvent event;
  event.prompt_logprobs = std::exchange(group.scores, {});
  group.has_sent_scores = true;
  group.stream->push(std::move(event));
}

void EngineLoop::sample(Sequence& s, std::span<float> logits) {
  const Request& request = s.group.request;
  TokenEvent event;
  event.choice = s.choice;
  const bool is_first = s.output_length() == 0;
  if (is_first) {
    // Ids beyond the row would be written to.
    if (config_.vocab_size != static_cast<int64_t>(logits.size()))
      request.params.validate(static_cast<int64_t>(logits.size()));
    event.cached_tokens = s.cached_tokens;
    counts_.cached_tokens += s.cached_tokens;
    counts_.prompt_tokens += s.choice == 0 ? s.length() : 0;
  }
  if (request.params.max_tokens == 0) {
    event.finish = FinishReason::length;
    return end_sequence(s, std::move(event));
  }
  if (request.hash_logits) event.logits_hash = hash_bytes(std::as_bytes(logits)).low;
  SampledToken sampled = s.sampler.next(logits, {s.tokens, request.prompt->ids.size()});
  s.tokens.push_back(sampled.token);
  ++counts_.generated_tokens;
  event.token = sampled.token;
  event.logprobs = std::move(sampled.logprobs);
  event.finish = reason_to_finish(s, sampled.token);
  if (event.finish == FinishReason::stop) event.stop_token = sampled.token;
  if (event.finish == FinishReason::none) {
    s.group.stream->push(std::move(event));
  } else {
    end_sequence(s, std::move(event));
  }
}

FinishReason EngineLoop::reason_to_finish(const Sequence& s, int32_t token) const {
  const SamplingParams& p = s.group.request.params;
  const auto& stops = p.stop_token_ids;
  const bool may_stop = !p.ignore_eos && s.output_length() >= p.min_tokens;
  if (may_stop && std::find(stops.begin(), stops.end(), token) != stops.end())
    return FinishReason::stop;
  if (s.output_length() >= p.max_tokens || s.length() >= config_.max_model_len)
    return FinishReason::length;
  return FinishReason::none;
}

// Which request broke the step is not known, so all of it fails; the others go on.
void EngineLoop::fail_step(const Schedule& schedule, const Error& error) {
  for (const Slice& slice : schedule.slices)
    if (slice.sequence->state != SequenceState::finished)
      end_group(slice.sequence->group, failure(error));
  scheduler_.fail_step(schedule);
}

// Workers may be lost while nothing runs.
void EngineLoop::look_at_workers() {
  if (!workforce_.is_healthy()) return;
  try {
    workforce_.check();
  } catch (const Error& loss) {
    replace_workers(loss);
    ended_.clear();
  }
}

void EngineLoop::replace_workers(const Error& loss) {
  if (!config_.resumes_after_loss) fail_running(loss);
  scheduler_.reset();
  workforce_.replace(loss, should_stop_);
  if (workforce_.is_healthy()) return;
  end_all(failure(Error(ErrorCode::unavailable, format("the workers are lost: {}", loss.what()))));
  publish_stats();
  if (config_.on_workers_gone) config_.on_workers_gone();
}

// Whoever has not begun waits on.
void EngineLoop::fail_running(const Error& loss) {
  std::vector<Group*> begun;
  for (const auto& [id, group] : groups_)
    if (std::any_of(group->sequences.begin(), group->sequences.end(), [](const auto& s) {
          return s->was_admitted;
        }))
      begun.push_back(group.get());
  for (Group* group : begun)
    end_group(*group,
              failure(Error(ErrorCode::unavailable, format("a worker was lost: {}", loss.what()))));
}

// Whoever sees the last event finds the blocks free, the counts true and the id unused.
void EngineLoop::end_sequence(Sequence& s, TokenEvent last) {
  scheduler_.remove(s);
  Group& group = s.group;
  const bool is_last = --group.unfinished == 0;
  if (is_last) {
    const auto it = groups_.find(group.request.id);
    ended_.push_back(std::move(it->second));
    groups_.erase(it);
    has_work_ = has_work_ && !groups_.empty();
    publish_stats();
    book_.left(group.request.id, last.finish);
  }
  group.stream->push(std::move(last));
  if (is_last) group.stream->close();
}

void EngineLoop::end_group(Group& group, const TokenEvent& last) {
  for (const auto& s : group.sequences) {
    if (s->state == SequenceState::finished) continue;
    TokenEvent event = last;
    event.choice = s->choice;
    end_sequence(*s, std::move(event));
  }
}

void EngineLoop::end_all(const TokenEvent& last) {
  while (!groups_.empty()) end_group(*groups_.begin()->second, last);
}

void EngineLoop::publish_stats() {
  counts_.running = static_cast<int>(scheduler_.running());
  counts_.waiting = static_cast<int>(scheduler_.waiting());
  counts_.swapped = 0;
  for (const auto& [id, group] : groups_)
    for (const auto& s : group->sequences) counts_.swapped += s->was_set_back ? 1 : 0;
  counts_.blocks_total = scheduler_.pool().size();
  counts_.blocks_used = scheduler_.pool().used();
  counts_.preemptions = scheduler_.preemptions();
  counts_.epoch = workforce_.epoch();
  counts_.is_stalled = is_stalled_;
  book_.publish(counts_, has_work_ || is_stalled_, clock_.now_us());
}

}  // namespace quern
