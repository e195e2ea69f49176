// SPDX-License-Identifier: Apache-2.0
// Llama 3.1, 3.2 and 4 with JSON calls:
//   <|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}; {"name": …}
// The tag is often missing, and an answer may well be a JSON object: only one that names a tool of
// the request is a call.
#include "api/parsers/json_call.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

class Llama3Json final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet& tools,
                        int) const override {
    co_await in.skip_space();
    const bool is_call = co_await read_bare(in, out, tools);
    co_return is_call;
  }

  char bare_begin() const override { return '{'; }

  ParserTask<bool> read_bare(TextReader& in,
                             AnswerWriter& out,
                             const ToolSet& tools) const override {
    out.hold_whole_calls();
    const CallEnd end = co_await read_json_call(in, out, tools, true);
    if (end == CallEnd::broken) {  // longer than what is held back
      StringSink rest(SIZE_MAX);
      co_await in.until({}, rest);
      out.arguments(rest.text);
      out.end_call();
    }
    co_return end != CallEnd::none;
  }

 private:
  const std::vector<std::string> markers_ = {"<|python_tag|>"};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_llama3_json() {
  return std::make_unique<Llama3Json>();
}

}  // namespace quern
