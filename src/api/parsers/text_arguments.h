// SPDX-License-Identifier: Apache-2.0
// TextArguments: arguments that a dialect writes as tagged text, one by one → the JSON object of a
// call, typed by the tool's schema.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/parsers/answer_writer.h"
#include "api/parsers/text_reader.h"
#include "api/parsers/tool_set.h"

namespace quern {

class TextArguments final : public TextSink {
 public:
  // Of the call under way, of this tool. With `is_in_lines` one line break at each end of a value
  // is the dialect's.
  TextArguments(AnswerWriter& out, const ToolSet& tools, std::string tool, bool is_in_lines);

  void begin(std::string_view key);
  void take(std::string_view text) override;  // of its value
  void end();
  // The text ended inside a value.
  void cut_off();
  void finish();  // the object
  int count() const { return count_; }

 private:
  void put(std::string_view text);

  AnswerWriter& out_;
  const ToolSet& tools_;
  const std::string tool_;
  const bool is_in_lines_;
  std::vector<std::string> types_;
  bool is_streamed_ = false, is_at_start_ = false, has_break_ = false;
  std::string text_;  // of a value that is typed at its end
  int count_ = 0;
};

// Reads a value up to one of `ends`, which only counts if one of `followers` or the end of the text
// follows: a value may well speak of the dialect. The index of the end, or TextReader::kEnd.
ParserTask<int> read_tagged_value(TextReader& in,
                                  TextSink& value,
                                  std::span<const std::string> ends,
                                  std::span<const std::string> followers);

}  // namespace quern
