// SPDX-License-Identifier: Apache-2.0
// Calls whose arguments are JSON: what most dialects share.
#pragma once

#include <string>

#include "api/parsers/answer_writer.h"
#include "api/parsers/text_reader.h"
#include "api/parsers/tool_set.h"

namespace quern {

enum class CallEnd : uint8_t {
  none,    // no call; nothing of it was shown
  whole,   // a call, ended
  broken,  // its JSON broke, or the text ended, once it was shown; it is still under way
};

// One JSON value; false if it is none or longer than AnswerWriter::kMaxHeldBytes.
ParserTask<bool> read_json(TextReader& in, std::string& out);
// A JSON object, as the arguments of the call under way. What of it was valid is written in any
// case.
ParserTask<bool> read_arguments(TextReader& in, AnswerWriter& out);
// {"name": …, "arguments" or "parameters": {…}}, in any order. With `only_known` a name that is no
// tool's makes it no call.
ParserTask<CallEnd> read_json_call(TextReader& in,
                                   AnswerWriter& out,
                                   const ToolSet& tools,
                                   bool only_known);
// The call is broken: what the model wrote up to `end` is passed on as it is.
ParserTask<bool> pass_on_broken(TextReader& in,
                                AnswerWriter& out,
                                std::string_view end,
                                std::string_view wrapping);

}  // namespace quern
