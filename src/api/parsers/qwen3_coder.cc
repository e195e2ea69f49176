// SPDX-License-Identifier: Apache-2.0
// Qwen3-Coder, Qwen3.5:
//   <tool_call>
//   <function=get_weather>
//   <parameter=city>
//   Paris
//   </parameter>
//   </function>
//   </tool_call>
// The outer tag is sometimes missing. A string stands bare, any other value as JSON.
#include "api/parsers/text_arguments.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

constexpr std::string_view kFunction = "<function=", kParameter = "<parameter=";
constexpr std::string_view kFunctionEnd = "</function>", kEnd = "</tool_call>";
constexpr size_t kMaxNameBytes = 1024;

class Qwen3Coder final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }
  std::vector<std::string> inner_markers() const override {
    return {std::string(kEnd), std::string(kFunctionEnd), "</parameter>"};
  }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet& tools,
                        int which) const override {
    if (which == 0) {
      co_await in.skip_space();
      const bool has_function = co_await in.accept(kFunction);
      if (!has_function) co_return false;
    }
    StringSink name(kMaxNameBytes);
    const int name_end = co_await in.until(name_ends_, name);
    if (name_end != 0 || !is_tool_name(trim(name.text))) co_return false;
    if (!out.begin_call(std::string(trim(name.text)))) co_return false;
    TextArguments arguments(out, tools, std::string(trim(name.text)), true);
    const bool is_whole = co_await read_arguments(in, arguments);
    if (!is_whole && !out.is_call_shown()) {
      out.abandon_call();
      co_return false;
    }
    if (is_whole) arguments.finish();
    out.end_call();
    TextReader::Hold hold(in);
    co_await in.skip_space();
    const bool has_end = co_await in.accept(kEnd);
    if (!has_end) hold.rewind();
    co_return true;
  }

 private:
  // Until the function ends; false if it is cut off or goes on otherwise.
  ParserTask<bool> read_arguments(TextReader& in, TextArguments& arguments) const {
    while (true) {
      const int c = co_await in.skip_space();
      if (c == TextReader::kEnd) co_return arguments.count() > 0;
      TextReader::Hold hold(in);  // what cannot be read is text
      const bool has_end = co_await in.accept(kFunctionEnd);
      if (has_end) co_return true;
      const bool has_parameter = co_await in.accept(kParameter);
      if (!has_parameter) co_return false;
      StringSink key(kMaxNameBytes);
      const int key_end = co_await in.until(name_ends_, key);
      const bool has_key_end = key_end == 0;
      if (!has_key_end) {
        hold.rewind();
        co_return false;
      }
      hold.release();
      arguments.begin(trim(key.text));
      const int end = co_await read_tagged_value(in, arguments, value_ends_, followers_);
      if (end == TextReader::kEnd) {
        arguments.cut_off();
        co_return false;
      }
      arguments.end();
      if (end == 1) co_return true;
    }
  }

  const std::vector<std::string> markers_ = {"<tool_call>", std::string(kFunction)};
  const std::vector<std::string> name_ends_ = {">"};
  const std::vector<std::string> value_ends_ = {"</parameter>", std::string(kFunctionEnd)};
  const std::vector<std::string> followers_ = {
      std::string(kParameter), std::string(kFunctionEnd), std::string(kEnd)};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_qwen3_coder() {
  return std::make_unique<Qwen3Coder>();
}

}  // namespace quern
