// SPDX-License-Identifier: Apache-2.0
// What an answer is constrained to where a model has no dialect of its own:
//   [{"name": "get_weather", "parameters": {"city": "Paris"}}, …]
#include "api/parsers/json_call.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

ParserTask<bool> read_object(TextReader& in, AnswerWriter& out, const ToolSet& tools) {
  const CallEnd end = co_await read_json_call(in, out, tools, true);
  if (end == CallEnd::broken) co_await pass_on_broken(in, out, "]", "}");
  co_return end != CallEnd::none;
}

class JsonArray final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }

  ParserTask<bool> read(TextReader&, AnswerWriter&, const ToolSet&, int) const override {
    co_return false;
  }

  char bare_begin() const override { return '['; }

  ParserTask<bool> read_bare(TextReader& in,
                             AnswerWriter& out,
                             const ToolSet& tools) const override {
    in.skip();
    const bool is_call = co_await read_call_list(in, out, tools, read_object);
    co_return is_call;
  }

 private:
  const std::vector<std::string> markers_;
};

}  // namespace

std::unique_ptr<const ToolDialect> make_json_array() {
  return std::make_unique<JsonArray>();
}

}  // namespace quern
