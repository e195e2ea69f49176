// SPDX-License-Identifier: Apache-2.0
// GrammarCompiler: constraints compiled for one vocabulary, cached by content.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sampling/grammar/grammar.h"
#include "text/tokenizer/tokenizer.h"

namespace quern {

struct GrammarLimits {
  std::chrono::milliseconds deadline{10000};  // of one compilation, its wait included
  size_t max_spec_bytes = size_t{256} << 10;
  size_t cache_bytes = size_t{128}
                       << 20;  // of compiled grammars that are kept for the next request
  int max_waiting = 64;        // compilations queued or under way
};

class GrammarCompiler {
 public:
  // `end_ids` are the tokens that end an answer; at least one. Copies what it needs of `tokenizer`.
  GrammarCompiler(const Tokenizer& tokenizer,
                  std::vector<int32_t> end_ids,
                  GrammarLimits limits = {});
  // Token id b is byte b, id 256 ends: for judging constraints without a model.
  explicit GrammarCompiler(GrammarLimits limits = {});
  ~GrammarCompiler();  // waits for a compilation under way

  // From any thread but the engine's; blocks up to the deadline. Throws GrammarError for a
  // constraint that is wrong, too large, too slow to compile or not enforceable; exhausted if too
  // many wait.
  std::shared_ptr<const Grammar> compile(const GrammarSpec& spec) const;

  static constexpr int32_t kByteEnd = 256;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// The grammar in xgrammar's EBNF, or (structural_tag) its JSON with the schemas replaced by
// grammars: what is handed to xgrammar. Throws GrammarError. For tests and for `quern grammar
// --verbose`.
std::string translated(const GrammarSpec& spec);

}  // namespace quern
