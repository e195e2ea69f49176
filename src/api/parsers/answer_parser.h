// SPDX-License-Identifier: Apache-2.0
// AnswerParser: the text of an answer as a model writes it → what a client is shown: reasoning,
// content, tool calls. Incremental: however the text is cut, the joined deltas are the same as for
// the whole.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

// A piece of one tool call. The first delta of a call carries id and name (whole), later ones none.
struct ToolCallDelta {
  int index = 0;  // of the call in this answer, from 0
  std::string id, name;
  std::string arguments;  // a piece of its JSON text

  bool operator==(const ToolCallDelta&) const = default;
};

struct AnswerDelta {
  std::string reasoning, content;
  std::vector<ToolCallDelta> tool_calls;  // in order
  bool is_empty() const { return reasoning.empty() && content.empty() && tool_calls.empty(); }
};

// One dialect, of tools or of reasoning, or a chain of the two.
class AnswerParser {
 public:
  virtual ~AnswerParser() = default;
  virtual AnswerDelta push(std::string_view text) = 0;
  // The answer has ended: what was held back, and whatever is half written as it best reads.
  virtual AnswerDelta finish() = 0;
  // Nothing that follows belongs to the answer: it may end here.
  virtual bool is_complete() const { return false; }
};

}  // namespace quern
