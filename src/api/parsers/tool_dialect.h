// SPDX-License-Identifier: Apache-2.0
// ToolDialect: how a family of models writes tool calls. One file each; registry.h has their names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/parsers/answer_writer.h"
#include "api/parsers/text_reader.h"
#include "api/parsers/tool_set.h"

namespace quern {

// Without state of its own: one object serves many answers.
class ToolDialect {
 public:
  virtual ~ToolDialect() = default;

  // What calls, and sections of them, begin with. None of them begins another one.
  virtual const std::vector<std::string>& markers() const = 0;
  // Further strings of the dialect that may be special tokens of a vocabulary.
  virtual std::vector<std::string> inner_markers() const { return {}; }
  // The language has its tools in itself: calls are read though a request declares none.
  virtual bool has_own_tools() const { return false; }
  // Behind marker `which`: reads one call, or skips a marker that says nothing. False: it is no
  // call, nothing was written, and the reader may stand anywhere behind the marker.
  virtual ParserTask<bool> read(TextReader& in,
                                AnswerWriter& out,
                                const ToolSet& tools,
                                int which) const = 0;

  // Calls without a marker: the byte that one begins with, where only blanks and calls stand in
  // front of it; 0: there are none. read_bare is like read.
  virtual char bare_begin() const { return 0; }
  virtual ParserTask<bool> read_bare(TextReader& in, AnswerWriter& out, const ToolSet& tools) const;
};

std::unique_ptr<const ToolDialect> make_hermes();
std::unique_ptr<const ToolDialect> make_glm45();
std::unique_ptr<const ToolDialect> make_kimi_k2();
std::unique_ptr<const ToolDialect> make_llama3_json();
std::unique_ptr<const ToolDialect> make_deepseek_v3();
std::unique_ptr<const ToolDialect> make_qwen3_coder();
std::unique_ptr<const ToolDialect> make_pythonic();
std::unique_ptr<const ToolDialect> make_json_array();
std::unique_ptr<const ToolDialect> make_autoglm();

// A list behind its opening bracket: calls with commas between them, each read by `read_one`. True
// if there was one; what comes behind the last one that could be read is left.
using ReadOne = ParserTask<bool> (*)(TextReader&, AnswerWriter&, const ToolSet&);
ParserTask<bool> read_call_list(TextReader& in,
                                AnswerWriter& out,
                                const ToolSet& tools,
                                ReadOne read_one);

// A name that can be a function's: 1 to 256 letters, digits and "_-.:/".
bool is_tool_name(std::string_view name);
std::string_view trim(std::string_view text);  // without blanks at both ends

}  // namespace quern
