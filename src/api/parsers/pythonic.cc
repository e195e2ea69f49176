// SPDX-License-Identifier: Apache-2.0
// Llama 3.2 and 4, ToolACE, Olmo 3: a list of Python calls with literals,
//   [get_weather(city="Paris"), get_time()]
// A list without its marker is a call only if it names a tool of the request. Each call is shown
// when it is complete: an argument is known to be a literal only then.
#include "api/parsers/python_literal.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

// Follows Python's strings and brackets, to find where a call ends.
class Brackets {
 public:
  // False once the bracket that was open at first is closed by `c`.
  bool step(char c) {
    if (quote_ != 0) {
      if (is_escaped_)
        is_escaped_ = false;
      else if (c == '\\')
        is_escaped_ = true;
      else if (c == quote_)
        quote_ = 0;
      return true;
    }
    if (c == '"' || c == '\'') quote_ = c;
    if (c == '(' || c == '[' || c == '{') ++depth_;
    if (c == ')' || c == ']' || c == '}') --depth_;
    return depth_ > 0;
  }

 private:
  int64_t depth_ = 1;
  char quote_ = 0;
  bool is_escaped_ = false;
};

ParserTask<bool> read_name(TextReader& in, std::string& name) {
  while (name.size() <= 256) {
    const int c = co_await in.peek();
    if (c == '(') {
      in.skip();
      co_return is_identifier(name);
    }
    if (c == TextReader::kEnd || !is_tool_name(std::string(1, static_cast<char>(c))))
      co_return false;
    in.skip();
    name += static_cast<char>(c);
  }
  co_return false;
}

ParserTask<bool> read_call(TextReader& in, AnswerWriter& out, const ToolSet& tools) {
  std::string name, text;
  co_await in.skip_space();
  const bool has_name = co_await read_name(in, name);
  if (!has_name || !tools.has(name)) co_return false;
  Brackets brackets;
  while (true) {
    const int c = co_await in.peek();
    if (c == TextReader::kEnd || text.size() > AnswerWriter::kMaxHeldBytes) co_return false;
    in.skip();
    if (!brackets.step(static_cast<char>(c))) break;
    text += static_cast<char>(c);
  }
  const auto json = python_arguments_to_json(text);
  if (!json || !out.begin_call(name)) co_return false;
  out.arguments(*json);
  out.end_call();
  co_return true;
}

class Pythonic final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet& tools,
                        int which) const override {
    if (which != 0) co_return true;
    const int next = co_await in.skip_space();
    bool is_call = next == '[';
    if (is_call) is_call = co_await read_bare(in, out, tools);
    co_return is_call;
  }

  char bare_begin() const override { return '['; }

  ParserTask<bool> read_bare(TextReader& in,
                             AnswerWriter& out,
                             const ToolSet& tools) const override {
    in.skip();
    const bool is_call = co_await read_call_list(in, out, tools, read_call);
    co_return is_call;
  }

 private:
  const std::vector<std::string> markers_ = {"<|python_start|>", "<|python_end|>"};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_pythonic() {
  return std::make_unique<Pythonic>();
}

}  // namespace quern
