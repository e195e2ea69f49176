// SPDX-License-Identifier: Apache-2.0
// GLM-4.5, 4.6, 4.5V, 4.6V (and 4.7, which leaves out the line breaks):
//   <tool_call>get_weather
//   <arg_key>city</arg_key>
//   <arg_value>Paris</arg_value>
//   </tool_call>
// A string stands bare, any other value as JSON.
#include "api/parsers/text_arguments.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

constexpr std::string_view kEnd = "</tool_call>", kKey = "<arg_key>", kValue = "<arg_value>";
constexpr size_t kMaxNameBytes = 1024;

class Glm45 final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }
  std::vector<std::string> inner_markers() const override {
    return {
        std::string(kEnd), std::string(kKey), "</arg_key>", std::string(kValue), "</arg_value>"};
  }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet& tools,
                        int) const override {
    std::string name;
    const bool has_name = co_await read_name(in, name);
    if (!has_name || !out.begin_call(name)) co_return false;
    TextArguments arguments(out, tools, name, false);
    bool is_whole = co_await read_arguments(in, arguments);
    if (!is_whole && !out.is_call_shown()) {
      out.abandon_call();
      co_return false;
    }
    if (is_whole) arguments.finish();
    out.end_call();
    co_return true;
  }

 private:
  // Up to the first tag or line break.
  static ParserTask<bool> read_name(TextReader& in, std::string& name) {
    co_await in.skip_space();
    while (name.size() <= kMaxNameBytes) {
      const int c = co_await in.peek();
      if (c == '\n' || c == '<') break;
      if (c == TextReader::kEnd) co_return false;
      name += static_cast<char>(c);
      in.skip();
    }
    name = trim(name);
    co_return is_tool_name(name);
  }

  // Until the call ends; false if it is cut off or goes on otherwise.
  ParserTask<bool> read_arguments(TextReader& in, TextArguments& arguments) const {
    while (true) {
      const int c = co_await in.skip_space();
      if (c == TextReader::kEnd) co_return arguments.count() > 0;
      TextReader::Hold hold(in);  // what cannot be read is text
      const bool has_end = co_await in.accept(kEnd);
      if (has_end) co_return true;
      const bool has_key = co_await in.accept(kKey);
      if (!has_key) co_return false;
      StringSink key(kMaxNameBytes);
      const int key_end = co_await in.until(key_ends_, key);
      const bool has_key_end = key_end == 0;
      co_await in.skip_space();
      bool has_value = has_key_end;
      if (has_value) has_value = co_await in.accept(kValue);
      if (!has_value) {
        hold.rewind();
        co_return false;
      }
      hold.release();
      arguments.begin(trim(key.text));
      const int end = co_await read_tagged_value(in, arguments, value_ends_, followers_);
      if (end != 0) {
        arguments.cut_off();
        co_return false;
      }
      arguments.end();
    }
  }

  const std::vector<std::string> markers_ = {"<tool_call>"};
  const std::vector<std::string> key_ends_ = {"</arg_key>"}, value_ends_ = {"</arg_value>"};
  const std::vector<std::string> followers_ = {std::string(kKey), std::string(kEnd)};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_glm45() {
  return std::make_unique<Glm45>();
}

}  // namespace quern
