// SPDX-License-Identifier: Apache-2.0
// DeepSeek V3 and R1:
//   <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather
//   ```json
//   {"city": "Paris"}
//   ```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
// V3.1:
//   <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city":
//   "Paris"}<｜tool▁call▁end｜>…
#include "api/parsers/json_call.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr size_t kMaxNameBytes = 512;

class DeepSeekV3 final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }
  std::vector<std::string> inner_markers() const override { return separators_; }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet&,
                        int which) const override {
    if (which != 0) co_return true;  // what wraps calls says nothing
    StringSink head(kMaxNameBytes);
    const int separator = co_await in.until(separators_, head);
    if (separator != 0) co_return false;
    std::string name(trim(head.text));
    int next = co_await in.skip_space();
    if (next != '{') {
      StringSink line(kMaxNameBytes);
      const int line_end = co_await in.until(line_end_, line);
      if (line_end != 0) co_return false;
      name = trim(line.text);
      co_await in.skip_space();
      co_await in.accept("```json");
      next = co_await in.skip_space();
      if (next != '{') co_return false;
    }
    if (!is_tool_name(name) || !out.begin_call(name)) co_return false;
    const bool is_whole = co_await read_arguments(in, out);
    if (!is_whole && out.is_call_shown()) {
      co_await pass_on_broken(in, out, kCallEnd, "```");
      co_return true;
    }
    if (!is_whole) {
      out.abandon_call();
      co_return false;
    }
    out.end_call();
    co_await skip_end(in);
    co_return true;
  }

 private:
  // The fence and the marker, as far as they are there.
  static ParserTask<bool> skip_end(TextReader& in) {
    for (const std::string_view part : {std::string_view("```"), kCallEnd}) {
      TextReader::Hold hold(in);
      co_await in.skip_space();
      const bool is_there = co_await in.accept(part);
      if (!is_there) hold.rewind();
    }
    co_return true;
  }

  const std::vector<std::string> markers_ = {"<｜tool▁call▁begin｜>",
                                             "<｜tool▁calls▁begin｜>",
                                             "<｜tool▁calls▁end｜>",
                                             std::string(kCallEnd)};
  const std::vector<std::string> separators_ = {"<｜tool▁sep｜>", std::string(kCallEnd)};
  const std::vector<std::string> line_end_ = {"\n"};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_deepseek_v3() {
  return std::make_unique<DeepSeekV3>();
}

}  // namespace quern
