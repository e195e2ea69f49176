// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace quern {

Scheduler::Scheduler(const EngineConfig& config)
    : config_(config), pool_(config.num_blocks), prefixes_(pool_) {}

void Scheduler::add(Sequence& s) {
  waiting_.insert(&s);
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
  const int64_t count = media_.plannable(s, std::min(s.remaining(), tokens_left_));
  if (count == 0 || !make_room(s, s.computed + count)) return false;
  media_.encode(s, count, schedule_.encode);
  media_.pass(s, s.computed + count);
  schedule_.slices.push_back({&s, s.computed, count, s.computed + count == s.length()});
  tokens_left_ -= count;
  return true;
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

// At least the last token is computed, for its logits.
std::vector<int32_t> Scheduler::known_blocks(Sequence& s) const {
  std::vector<int32_t> known;
  if (!s.group.shares_blocks) return known;
  const auto most = static_cast<size_t>((s.length() - 1) / config_.block_size);
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
    s.computed = slice.begin + slice.count;
    if (s.group.shares_blocks) publish(s);
    const auto prompt = static_cast<int64_t>(s.prompt().ids.size());
    if (s.computed / config_.block_size >= (prompt - 1) / config_.block_size)
      s.group.is_prompt_ready = true;
  }
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
