// SPDX-License-Identifier: Apache-2.0
// DialectParser: the AnswerParser of all dialects: reasoning first, then text and tool calls.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/parsers/answer_parser.h"
#include "api/parsers/answer_writer.h"
#include "api/parsers/reasoning.h"
#include "api/parsers/text_reader.h"
#include "api/parsers/tool_dialect.h"
#include "api/parsers/tool_set.h"

namespace quern {

class DialectParser final : public AnswerParser {
 public:
  struct Options {
    std::optional<ReasoningFamily> reasoning;
    PromptThinking prompt = PromptThinking::unsaid;
    bool shows_reasoning = true;           // else it is read and dropped
    const ToolDialect* dialect = nullptr;  // null: no tools; must outlive the parser
    ToolSet tools;
    AnswerWriter::Limits limits;
    bool ends_after_calls = false;  // once limits.max_calls are made, the answer is complete
  };
  explicit DialectParser(Options options);

  AnswerDelta push(std::string_view text) override;
  AnswerDelta finish() override;
  bool is_complete() const override;

 private:
  ParserTask<bool> run();
  ParserTask<bool> read_answer();
  ParserTask<bool> read_reasoning();
  ParserTask<bool> skip_think_begin();
  bool is_answer_tag(std::string_view marker) const {
    return options_.reasoning && options_.reasoning->has_answer_tags &&
           (marker == kAnswerBegin || marker == kAnswerEnd);
  }
  bool takes_answer_tag(std::string_view tag);
  ParserTask<bool> read_marked(int which);
  ParserTask<bool> read_bare();
  AnswerDelta take();

  const Options options_;
  const ReasoningFamily family_;  // of the options, or the usual marks
  AnswerWriter out_;
  ContentSink content_;
  ReasoningSink reasoning_;
  std::vector<std::string> markers_;  // those of the dialect, then the end of thoughts
  bool expects_think_end_ = false;    // a call ended the reasoning instead
  bool has_answer_begun_ = false;     // <answer> was read
  TextReader in_;
  ParserTask<bool> root_;  // reads from in_: destroyed before it
};

}  // namespace quern
