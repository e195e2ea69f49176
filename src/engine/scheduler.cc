// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <algorithm>

#include "base/error.h"
#include "engine/admission.h"

namespace quern {

Scheduler::Scheduler(const EngineConfig& config)
    : config_(config), pool_(config.num_blocks), prefixes_(pool_) {}

void Scheduler::add(Sequence& s) {
  waiting_.insert(&s);
}

StepShape shape_of(const Schedule& schedule) {
  StepShape out;
  for (const Slice& slice : schedule.slices) {
    out.sequences += slice.samples ? 1 : 0;
    out.prefill_tokens += slice.count - (slice.samples ? 1 : 0);
    int64_t& attended = slice.count == 1 ? out.attended : out.prefill_attended;
    attended += slice.count * slice.begin + slice.count * (slice.count + 1) / 2;
  }
  return out;
}

void Scheduler::remove(Sequence& s) {
  waiting_.erase(&s);
  running_.erase(&s);
  media_.drop(s);
  s.blocks.clear();
  s.state = SequenceState::finished;
}

Schedule Scheduler::next() {
  schedule_ = {};
  tokens_left_ = config_.max_num_batched_tokens;
  rows_left_ = config_.most_rows();
  spare_ = config_.speculation.tokens > 0 ? spare_tokens() : 0;
  media_.begin_step(config_.encode_budget_tokens);
  const std::vector<Sequence*> order(running_.begin(),
                                     running_.end());  // running_ changes when one is set back
  for (const bool is_decode : {true, false})
    for (Sequence* s : order)
      if (s->state == SequenceState::running && !s->is_paused && (s->remaining() == 1) == is_decode)
        run(*s);
  admit_waiting();
  schedule_.release = media_.take_releases();
  return std::move(schedule_);
}

bool Scheduler::run(Sequence& s) {
  if (tokens_left_ == 0 || schedule_.slices.size() >= static_cast<size_t>(config_.max_num_seqs))
    return false;
  const int64_t count = media_.plannable(s, chunk_of(s));
  if (count == 0 || !make_room(s, s.computed + count)) return false;
  media_.encode(s, count, schedule_.encode);
  media_.pass(s, s.computed + count);
  Slice slice{&s, s.computed, count, s.computed + count == s.length()};
  slice.rows = slice.samples ? 1 : 0;
  if (s.is_scoring())
    slice.rows = std::max<int64_t>(0, slice.end() - std::max(s.computed, s.scored));
  if (slice.samples && !s.draft.empty()) add_draft(slice);
  schedule_.slices.push_back(slice);
  tokens_left_ -= slice.count;
  rows_left_ -= slice.rows;
  return true;
}

// Half of what is left when every running sequence has its next token: the rest is for prefill.
// Their rows come on top of one for each sequence.
int64_t Scheduler::spare_tokens() const {
  const auto decoding = std::count_if(running_.begin(), running_.end(), [](const Sequence* r) {
    return !r->is_paused && r->remaining() == 1;
  });
  const int64_t left = std::max<int64_t>(0, config_.max_num_batched_tokens - decoding);
  return std::min<int64_t>(left / 2, most_draft_rows(config_));
}

// A guess never sets anybody back, and leaves each running sequence a block.
void Scheduler::add_draft(Slice& slice) {
  Sequence& s = *slice.sequence;
  const int64_t most =
      std::min({static_cast<int64_t>(s.draft.size()), spare_, rows_left_ - slice.rows});
  if (most < 1) return;
  const int64_t missing = s.blocks.missing_blocks(slice.end() + most);
  if (missing > 0 && missing + static_cast<int64_t>(running_.size()) > pool_.unreferenced()) return;
  s.blocks.grow_to(slice.end() + most);
  slice.drafts = most;
  slice.count += most;
  slice.rows += most;
  spare_ -= most;
}

// The most tokens of one slice: of a prompt that is scored, no more than there are rows for. Where
// the first row alone is pooled, nobody asks for the rest.
int64_t Scheduler::chunk_of(const Sequence& s) const {
  if (s.group.pooling == PoolingType::cls) return std::min<int64_t>(rows_left_, 1);
  int64_t count = std::min(s.remaining(), tokens_left_);
  if (config_.long_prefill_token_threshold > 0)
    count = std::min<int64_t>(count, config_.long_prefill_token_threshold);
  if (s.is_scoring())
    return std::min(count, std::max<int64_t>(0, s.scored - s.computed) + rows_left_);
  return rows_left_ == 0 && count == s.remaining() ? count - 1 : count;
}

bool Scheduler::make_room(Sequence& s, int64_t tokens) {
  while (!s.blocks.grow_to(tokens)) {
    const auto paused = std::find_if(
        running_.rbegin(), running_.rend(), [](const Sequence* r) { return r->is_paused; });
    Sequence* victim = paused != running_.rend() ? *paused : *running_.rbegin();
    set_back(*victim);
    ++preemptions_;
    if (victim == &s) return false;
  }
  return true;
}

void Scheduler::set_back(Sequence& s) {
  unplan(s);
  running_.erase(&s);
  media_.drop(s);
  s.blocks.clear();
  s.computed = 0;
  s.published = 0;
  s.was_set_back = true;
  s.state = SequenceState::waiting;
  waiting_.insert(&s);
}

void Scheduler::unplan(const Sequence& s) {
  std::erase_if(schedule_.slices, [&](const Slice& slice) {
    if (slice.sequence != &s) return false;
    tokens_left_ += slice.count;
    rows_left_ += slice.rows;
    return true;
  });
}

void Scheduler::admit_waiting() {
  auto active = std::count_if(
      running_.begin(), running_.end(), [](const Sequence* r) { return !r->is_paused; });
  for (auto it = waiting_.begin();
       it != waiting_.end() && active < config_.max_num_seqs && tokens_left_ > 0;) {
    Sequence& s = **it;
    if (s.is_paused || waits_for_leader(s)) {
      ++it;
      continue;
    }
    if (!admit(s)) return;  // nobody overtakes
    ++active;
    it = waiting_.begin();  // admitting may have set others back
  }
}

bool Scheduler::waits_for_leader(const Sequence& s) const {
  return s.choice > 0 && !s.group.is_prompt_ready &&
         s.group.sequences[0]->state != SequenceState::finished;
}

bool Scheduler::admit(Sequence& s) {
  std::vector<int32_t> known = known_blocks(s);
  while (!fits(s, known)) {
    if (!make_room_by_paused()) return false;
    known = known_blocks(s);
  }
  start(s, known);
  run(s);
  return true;
}

// Consumers that do not read may keep their blocks, but not from everybody.
bool Scheduler::make_room_by_paused() {
  if (running_.empty()) return false;
  for (const Sequence* r : running_)
    if (!r->is_paused) return false;
  set_back(**running_.rbegin());
  ++preemptions_;
  return true;
}

// At least the last token is computed, for its logits; of a prompt that is scored, all that nobody
// has scored yet.
std::vector<int32_t> Scheduler::known_blocks(Sequence& s) const {
  std::vector<int32_t> known;
  if (!s.group.shares_blocks) return known;
  const int64_t reusable = s.is_scoring() ? s.scored : s.length() - 1;
  const auto most = static_cast<size_t>(reusable / config_.block_size);
  while (known.size() < most) {
    const int32_t block = prefixes_.find(s.block_key(known.size()));
    if (block < 0) break;
    known.push_back(block);
  }
  return known;
}

// All its tokens fit beside those that the running ones are about to compute: else it would only be
// set back soon.
bool Scheduler::fits(const Sequence& s, const std::vector<int32_t>& known) const {
  int64_t needed = (s.length() + config_.block_size - 1) / config_.block_size -
                   static_cast<int64_t>(known.size());
  for (const int32_t block : known) needed += pool_.references(block) == 0 ? 1 : 0;
  for (const Sequence* r : running_) needed += r->blocks.missing_blocks(r->length() + 1);
  return needed <= pool_.unreferenced();
}

void Scheduler::start(Sequence& s, const std::vector<int32_t>& known) {
  waiting_.erase(&s);
  for (const int32_t block : known) s.blocks.share(block);
  s.published = known.size();
  s.computed = static_cast<int64_t>(known.size()) * config_.block_size;
  if (!s.was_admitted) s.cached_tokens = static_cast<int32_t>(s.computed);
  s.was_admitted = true;
  s.was_set_back = false;
  s.state = SequenceState::running;
  running_.insert(&s);
  media_.hold(s);
  media_.pass(s, s.computed);  // it may have held them since its first sibling started
  // The others of its request will need what it encodes for the unshared end of the prompt.
  for (const auto& sibling : s.group.sequences)
    if (!sibling->was_admitted && sibling->state == SequenceState::waiting) media_.hold(*sibling);
}

void Scheduler::complete(const Schedule& schedule) {
  for (const Slice& slice : schedule.slices) {
    Sequence& s = *slice.sequence;
    if (s.state == SequenceState::finished) continue;  // while the step was under way
    s.computed = slice.end() - slice.drafts;
    s.scored = std::max(s.scored, std::min(s.computed, s.rows_to_score()));
    if (s.group.shares_blocks) publish(s);
    const auto prompt = static_cast<int64_t>(s.prompt().ids.size());
    if (s.computed / config_.block_size >= (prompt - 1) / config_.block_size && !s.is_scoring())
      s.group.is_prompt_ready = true;
  }
}

void Scheduler::accept_draft(Sequence& s) {
  ++s.computed;
  if (s.group.shares_blocks) publish(s);
}

void Scheduler::publish(Sequence& s) {
  const auto full = static_cast<size_t>(s.computed / config_.block_size);
  for (; s.published < full; ++s.published)
    prefixes_.insert(s.block_key(s.published), s.blocks.blocks()[s.published]);
}

void Scheduler::fail_step(const Schedule& schedule) {
  media_.distrust(schedule.encode);
}

void Scheduler::reset() {
  while (!running_.empty()) set_back(**running_.begin());
  prefixes_.clear();
  media_.forget_workers();
}

}  // namespace quern
