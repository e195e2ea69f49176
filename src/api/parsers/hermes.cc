// SPDX-License-Identifier: Apache-2.0
// Hermes, Qwen2.5, Qwen3:
//   <tool_call>
//   {"name": "get_weather", "arguments": {"city": "Paris"}}
//   </tool_call>
#include "api/parsers/json_call.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

constexpr std::string_view kEnd = "</tool_call>";

class Hermes final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }
  std::vector<std::string> inner_markers() const override { return {std::string(kEnd)}; }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet& tools,
                        int) const override {
    co_await in.skip_space();
    const CallEnd end = co_await read_json_call(in, out, tools, false);
    if (end == CallEnd::none) co_return false;
    if (end == CallEnd::broken) {
      co_await pass_on_broken(in, out, kEnd, "}");
      co_return true;
    }
    // What stands between the call and its end is text.
    TextReader::Hold hold(in);
    co_await in.skip_space();
    co_await in.accept("}");  // one brace too many is a frequent slip
    co_await in.skip_space();
    const bool has_end = co_await in.accept(kEnd);
    if (!has_end) hold.rewind();
    co_return true;
  }

 private:
  const std::vector<std::string> markers_ = {"<tool_call>"};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_hermes() {
  return std::make_unique<Hermes>();
}

}  // namespace quern
