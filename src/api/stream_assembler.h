// SPDX-License-Identifier: Apache-2.0
// StreamAssembler: the token events of one choice → text deltas. The concatenated deltas are the
// same however the events arrive.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/parsers/answer_parser.h"
#include "api/prompt_scores.h"
#include "api/sampling_fields.h"
#include "engine/request.h"
#include "text/tokenizer/detokenizer.h"

namespace quern {

// Finds the first of several strings in a text that arrives in pieces. "First" is the one that ends
// first (of those the one that began first), so the place does not depend on how the text was cut.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  struct Match {
    size_t begin = 0, end = 0;  // in the pending text
    size_t which = 0;
  };
  // Looks at `pending`, whose first `seen` bytes were looked at before (none of them completed a
  // match).
  std::optional<Match> find(std::string_view pending, size_t seen) const;
  // How many bytes at the end of `pending` may be the beginning of a stop string and must wait.
  size_t held_back(std::string_view pending) const;
  const std::string& stop(size_t which) const { return stops_[which]; }
  bool is_empty() const { return stops_.empty(); }

 private:
  std::vector<std::string> stops_;
};

// A token as logprobs show it.
struct ScoredToken {
  int32_t id = -1;
  float logprob = 0;
  std::string text;   // with U+FFFD for what is no whole character
  std::string bytes;  // what it really stands for
};

struct TokenScores {
  ScoredToken chosen;
  std::vector<ScoredToken> top;
  int64_t text_offset = 0;  // characters of the answer in front of this token's text
};

// Pieces of one answer, or (added up) the whole.
struct TextDelta {
  std::string text;       // content: whole characters
  std::string reasoning;  // whole characters
  std::vector<ToolCallDelta> tool_calls;
  std::vector<int32_t> tokens;      // those whose text ends in this delta or before
  std::vector<TokenScores> scores;  // of the same tokens, if asked for
  FinishReason finish = FinishReason::none;
  bool called_tools = false;  // with a finish: the answer made tool calls
  std::variant<std::monostate, int32_t, std::string>
      stop_reason;  // the token id or string that ended the answer
  ErrorCode error_code = ErrorCode::internal;
  std::string error;         // finish == error
  std::string error_reason;  // a closer name than the code's; mostly empty
  // In the first delta of each choice, if the prompt's log-probabilities were asked for.
  std::shared_ptr<const ScoredPrompt> prompt;

  // Nothing of the answer's text in any of its three forms.
  bool shows_nothing() const { return text.empty() && reasoning.empty() && tool_calls.empty(); }
  bool is_empty() const {
    return shows_nothing() && tokens.empty() && finish == FinishReason::none;
  }
  // Joins the pieces of one tool call into one.
  void append(TextDelta next);
};

int64_t character_count(std::string_view utf8);

class StreamAssembler {
 public:
  // `tokenizer` must outlive the assembler. A parser reads the text once stop strings are looked
  // for.
  StreamAssembler(const Tokenizer& tokenizer,
                  TextOptions options,
                  std::unique_ptr<AnswerParser> parser = nullptr);

  // The next event of this choice. After a delta with a finish, further events give empty deltas.
  TextDelta push(const TokenEvent& event);

  bool is_finished() const { return is_finished_; }
  // The answer ended by a stop string, or its parser wants no more, while the engine goes on: the
  // caller should cancel.
  bool has_stopped_early() const { return has_stopped_early_; }
  int64_t token_count() const {
    return token_count_;
  }  // produced, the one that ended the answer included

 private:
  struct Waiting {
    int32_t token;
    int64_t text_end;  // offset in the answer behind this token's text
    std::optional<TokenScores> scores;
  };

  TextDelta next(const TokenEvent& event);
  void parse(TextDelta& delta);
  void take(const TokenEvent& event);
  std::string text_of(const TokenEvent& event);
  void finish(TextDelta& delta, const TokenEvent& event);
  void emit(TextDelta& delta, size_t bytes);
  void release_tokens(TextDelta& delta, bool all);

  const Tokenizer& tokenizer_;
  TextOptions options_;
  Detokenizer detokenizer_;
  StopMatcher stops_;
  std::unique_ptr<AnswerParser> parser_;  // null: all text is content
  bool has_called_ = false;
  std::string pending_;    // decoded, not yet given out
  size_t looked_at_ = 0;   // of pending_, by the matcher
  int64_t given_out_ = 0;  // bytes
  int64_t decoded_ = 0;    // bytes
  int64_t decoded_characters_ = 0;
  std::deque<Waiting> waiting_;
  int64_t token_count_ = 0;
  bool is_finished_ = false, has_stopped_early_ = false;
};

}  // namespace quern
