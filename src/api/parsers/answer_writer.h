// SPDX-License-Identifier: Apache-2.0
// AnswerWriter: what a parser finds → deltas. It decides when a tool call is shown, and which
// blanks around calls and reasoning are text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/parsers/answer_parser.h"
#include "api/parsers/text_reader.h"

namespace quern {

class AnswerWriter {
 public:
  struct Limits {
    int max_calls = 128;
    // A call is shown once it is complete or its arguments are longer than this; until then it can
    // be taken back.
    size_t held_bytes = 256;
    uint64_t id_seed =
        0;  // ids of calls that have none of their own depend on it and the index alone
  };
  explicit AnswerWriter(const Limits& limits) : limits_(limits) {}

  // Blanks behind text wait until more text follows: in front of a call or of the end they are
  // layout.
  void content(std::string_view text);
  // What comes next closes the text: blanks in front of it are layout.
  void drop_blanks() { content_space_.clear(); }
  // Line breaks beside the tags are the template's, not the text's.
  void reasoning(std::string_view text);
  void end_reasoning();

  // False if no more calls may be made. An empty id gets one.
  bool begin_call(std::string name, std::string id = {});
  void arguments(std::string_view json);
  void end_call();
  // What was not shown is forgotten; what was shown stays a call, and nothing more may be added.
  void abandon_call();
  bool is_call_shown() const { return is_shown_; }  // the one under way
  // For a dialect whose calls cannot be told from text before they end.
  void hold_whole_calls() { limits_.held_bytes = kMaxHeldBytes; }

  bool has_content() const { return has_content_; }  // text that is no layout
  int call_count() const { return call_count_; }
  bool may_call() const { return call_count_ < limits_.max_calls; }

  // All that was written since the last call of it.
  AnswerDelta take() { return std::exchange(delta_, {}); }
  void finish();

  static constexpr size_t kMaxHeldBytes = size_t{1} << 20;

 private:
  void show_call();
  void append_arguments(std::string_view json);

  Limits limits_;
  AnswerDelta delta_;
  std::string content_space_, reasoning_breaks_;  // wait for text
  bool has_content_ = false, has_reasoning_ = false;
  bool drops_breaks_ = false;  // content begins behind reasoning
  ToolCallDelta call_;         // under way
  bool is_shown_ = false;
  int call_count_ = 0;
};

class ContentSink final : public TextSink {
 public:
  explicit ContentSink(AnswerWriter& out) : out_(out) {}
  void take(std::string_view text) override { out_.content(text); }

 private:
  AnswerWriter& out_;
};

class ReasoningSink final : public TextSink {
 public:
  explicit ReasoningSink(AnswerWriter& out) : out_(out) {}
  void take(std::string_view text) override { out_.reasoning(text); }

 private:
  AnswerWriter& out_;
};

// Full beyond `limit` bytes; then its text is not whole.
class StringSink final : public TextSink {
 public:
  explicit StringSink(size_t limit) : limit_(limit) {}
  void take(std::string_view piece) override { text += piece; }
  bool is_full() const override { return text.size() > limit_; }

  std::string text;

 private:
  const size_t limit_;
};

// Text as the inside of a JSON string.
std::string json_escaped(std::string_view text);

}  // namespace quern
