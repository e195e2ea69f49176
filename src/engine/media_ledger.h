// SPDX-License-Identifier: Apache-2.0
// MediaLedger: which media the workers hold encoded, and for how many sequences. Bookkeeping alone.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"

namespace quern {

// A sequence that holds media keeps alive the rows of every span that it has not computed yet. Rows
// are encoded when the first chunk that needs them is planned, and released with the plan that
// computes their last token.
class MediaLedger {
 public:
  void hold(Sequence& s);  // from s.computed on
  void pass(Sequence& s,
            int64_t computed);  // gives back the spans that end at or before `computed`
  void drop(Sequence& s);       // gives back all

  void begin_step(int64_t encode_budget_tokens);
  // How many of `count` tokens from s.computed on can be planned: ends before the first span whose
  // rows are neither there nor within this step's budget. A medium larger than the whole budget is
  // encoded as the only one of its step.
  int64_t plannable(const Sequence& s, int64_t count) const;
  // Plans the encoding of what tokens [s.computed, s.computed + count) need.
  void encode(const Sequence& s, int64_t count, std::vector<EncodeTask>& tasks);
  // Encoded media that nobody holds any more, to be released by the plan at hand.
  std::vector<Hash128> take_releases();

  void forget_workers();  // new workers hold nothing
  void distrust(const std::vector<EncodeTask>&
                    tasks);  // a step failed: whether these were encoded is not known
  size_t size() const { return media_.size(); }

 private:
  enum class Presence : uint8_t { absent, unsure, encoded };  // on the workers
  struct Entry {
    int holders = 0;
    Presence presence = Presence::absent;
  };
  void give_back(const Hash128& hash);
  bool is_encoded(const Hash128& hash) const;
  bool fits(int64_t tokens, int64_t spent) const;

  std::unordered_map<Hash128, Entry> media_;
  std::vector<Hash128> unheld_;  // not absent when their last holder went; in the order of events
  int64_t budget_ = 0, spent_ = 0;
};

}  // namespace quern
