// SPDX-License-Identifier: Apache-2.0
// Grammar: what a request allows its answer to be, compiled for one vocabulary; GrammarState: where
// one sequence stands in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace quern {

// A constraint as a request states it. Two equal specs have equal grammars.
struct GrammarSpec {
  enum class Kind : uint8_t {
    json_object,     // any JSON object; `text` is empty
    json_schema,     // `text`: the schema, JSON
    regex,           // `text`: the pattern, matched whole
    ebnf,            // `text`: a grammar with a rule `root`
    structural_tag,  // `text`: JSON {"begin", "schema", "end"} structures and triggers, as vLLM has
                     // it
  };
  Kind kind = Kind::json_object;
  std::string text;

  bool operator==(const GrammarSpec&) const = default;
};

// Of one sequence. Not for several threads at once.
class GrammarState {
 public:
  virtual ~GrammarState() = default;
  // Bit t % 32 of word t / 32 says whether token t may come next; words.size() == ceil(V / 32).
  // End-of-sequence ids are set where the text may end here.
  virtual void fill_mask(std::span<uint32_t> words) = 0;
  // False, and nothing changes, if the token is not allowed.
  virtual bool accept(int32_t token) = 0;
  // Takes back the last `tokens` accepted ones; at most kMaxRollback.
  virtual void rollback(int tokens) = 0;
  // An end-of-sequence id was accepted: nothing may follow.
  virtual bool is_finished() const = 0;

  static constexpr int kMaxRollback = 64;
};

// Immutable; shared by requests and threads.
class Grammar {
 public:
  virtual ~Grammar() = default;
  virtual std::unique_ptr<GrammarState> start() const = 0;
  virtual size_t memory_bytes() const = 0;
};

}  // namespace quern
