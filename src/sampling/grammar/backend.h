// SPDX-License-Identifier: Apache-2.0
// GrammarBackend: xgrammar for one vocabulary. The only file behind which xgrammar is known.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sampling/grammar/grammar.h"

namespace quern {

class GrammarBackend {
 public:
  // `vocabulary[id]` are the bytes of a token; empty for special ones, which no text matches.
  GrammarBackend(const std::vector<std::string>& vocabulary, const std::vector<int32_t>& end_ids);
  ~GrammarBackend();

  // `text` as translated() gives it. Cannot be interrupted. Throws GrammarError.
  std::shared_ptr<const Grammar> compile(GrammarSpec::Kind kind, const std::string& text) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace quern
