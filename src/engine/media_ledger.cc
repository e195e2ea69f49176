// SPDX-License-Identifier: Apache-2.0
#include "engine/media_ledger.h"

#include <algorithm>

namespace quern {
namespace {

int64_t end_of(const MediaSpan& span) {
  return int64_t{span.first_token} + span.count;
}

}  // namespace

void MediaLedger::hold(Sequence& s) {
  if (s.holds_media) return;
  const auto& spans = s.prompt().media;
  s.holds_media = true;
  s.media_passed = 0;
  while (s.media_passed < spans.size() && end_of(spans[s.media_passed]) <= s.computed)
    ++s.media_passed;
  for (size_t i = s.media_passed; i < spans.size(); ++i) ++media_[spans[i].media->hash].holders;
}

void MediaLedger::pass(Sequence& s, int64_t computed) {
  const auto& spans = s.prompt().media;
  while (s.holds_media && s.media_passed < spans.size() &&
         end_of(spans[s.media_passed]) <= computed)
    give_back(spans[s.media_passed++].media->hash);
}

void MediaLedger::drop(Sequence& s) {
  const auto& spans = s.prompt().media;
  while (s.holds_media && s.media_passed < spans.size())
    give_back(spans[s.media_passed++].media->hash);
  s.holds_media = false;
}

void MediaLedger::give_back(const Hash128& hash) {
  const auto it = media_.find(hash);
  if (--it->second.holders > 0) return;
  if (it->second.presence != Presence::absent) {
    unheld_.push_back(hash);
  } else {
    media_.erase(it);
  }
}

void MediaLedger::begin_step(int64_t encode_budget_tokens) {
  budget_ = encode_budget_tokens;
  spent_ = 0;
}

bool MediaLedger::is_encoded(const Hash128& hash) const {
  const auto it = media_.find(hash);
  return it != media_.end() && it->second.presence == Presence::encoded;
}

bool MediaLedger::fits(int64_t tokens, int64_t spent) const {
  return spent == 0 || spent + tokens <= budget_;
}

int64_t MediaLedger::plannable(const Sequence& s, int64_t count) const {
  const auto& spans = s.prompt().media;
  int64_t spent = spent_;
  for (size_t i = s.media_passed; i < spans.size() && spans[i].first_token < s.computed + count;
       ++i) {
    const MediaInput& media = *spans[i].media;
    if (is_encoded(media.hash)) continue;
    if (!fits(media.tokens, spent)) return std::max<int64_t>(0, spans[i].first_token - s.computed);
    spent += media.tokens;
  }
  return count;
}

void MediaLedger::encode(const Sequence& s, int64_t count, std::vector<EncodeTask>& tasks) {
  const auto& spans = s.prompt().media;
  for (size_t i = s.media_passed; i < spans.size() && spans[i].first_token < s.computed + count;
       ++i) {
    Entry& entry = media_[spans[i].media->hash];
    if (entry.presence == Presence::encoded) continue;
    entry.presence = Presence::encoded;
    spent_ += spans[i].media->tokens;
    tasks.push_back({spans[i].media->hash, spans[i].media});
  }
}

std::vector<Hash128> MediaLedger::take_releases() {
  std::vector<Hash128> releases;
  for (const Hash128& hash : unheld_) {
    const auto it = media_.find(hash);
    if (it == media_.end() || it->second.holders > 0)
      continue;  // held again meanwhile, or listed twice
    releases.push_back(hash);
    media_.erase(it);
  }
  unheld_.clear();
  return releases;
}

void MediaLedger::forget_workers() {
  unheld_.clear();
  std::erase_if(media_, [](const auto& entry) { return entry.second.holders == 0; });
  for (auto& [hash, entry] : media_) entry.presence = Presence::absent;
}

void MediaLedger::distrust(const std::vector<EncodeTask>& tasks) {
  for (const EncodeTask& task : tasks) {
    Entry& entry = media_[task.hash];
    entry.presence = Presence::unsure;  // encoded anew by whoever needs it, released in any case
    if (entry.holders == 0) unheld_.push_back(task.hash);
  }
}

}  // namespace quern
