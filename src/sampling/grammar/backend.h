// SPDX-License-Identifier: Apache-2.0
// GrammarBackend: xgrammar for one vocabulary. The only file behind which xgrammar is known.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "sampling/grammar/grammar.h"

namespace quern {

class GrammarBackend {
 public:
  // `vocabulary[id]` are the bytes of a token; empty for special ones, which no text matches. A
  // structural tag may name them by id.
  GrammarBackend(std::vector<std::string> vocabulary, std::vector<int32_t> end_ids);
  ~GrammarBackend();

  // `text` as translated() gives it. Cannot be interrupted. Throws GrammarError.
  std::shared_ptr<const Grammar> compile(GrammarSpec::Kind kind, const std::string& text) const;

 private:
  struct State;
  std::shared_ptr<const State> state_with(const std::vector<int32_t>& special) const;

  std::vector<std::string> vocabulary_;
  std::vector<int32_t> end_ids_;
  std::shared_ptr<const State> state_;  // without special tokens
  // The last few with some, the newest last: a server needs those of one dialect.
  mutable std::mutex mutex_;
  mutable std::vector<std::pair<std::vector<int32_t>, std::shared_ptr<const State>>> special_;
};

}  // namespace quern
