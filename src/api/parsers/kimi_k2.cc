// SPDX-License-Identifier: Apache-2.0
// Kimi K2:
//   <|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>
//   {"city": "Paris"}<|tool_call_end|><|tool_calls_section_end|>
// in one line. The id is the model's own and is passed on: the next turn's template repeats it.
#include "api/parsers/json_call.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

constexpr std::string_view kCallEnd = "<|tool_call_end|>";
constexpr size_t kMaxIdBytes = 512;

// "functions.get_weather:0" → "get_weather". The prefix and the number may be missing.
std::string_view name_in(std::string_view id) {
  if (id.starts_with("functions.")) id.remove_prefix(10);
  const size_t colon = id.rfind(':');
  if (colon == std::string_view::npos) return id;
  const std::string_view number = id.substr(colon + 1);
  const bool is_number = number.find_first_not_of("0123456789") == std::string_view::npos;
  return is_number ? id.substr(0, colon) : id;
}

class KimiK2 final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }
  std::vector<std::string> inner_markers() const override { return id_ends_; }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet&,
                        int which) const override {
    if (which != 0) co_return true;  // what wraps calls says nothing
    StringSink id(kMaxIdBytes);
    const int id_end = co_await in.until(id_ends_, id);
    if (id_end != 0) co_return false;
    const std::string_view name = name_in(trim(id.text));
    if (!is_tool_name(name)) co_return false;
    if (!out.begin_call(std::string(name), std::string(trim(id.text)))) co_return false;
    const int first = co_await in.skip_space();
    bool is_whole = false;
    if (first == '<') {
      out.arguments("{}");
      is_whole = true;
    } else if (first == '{') {
      is_whole = co_await read_arguments(in, out);
    }
    if (!is_whole) {
      const bool is_shown = out.is_call_shown();
      if (is_shown) co_await pass_on_broken(in, out, kCallEnd, "");
      if (!is_shown) out.abandon_call();
      co_return is_shown;
    }
    co_await in.skip_space();
    const bool has_end = co_await in.accept(kCallEnd);
    if (!has_end && first == '<') {
      out.abandon_call();
      co_return false;
    }
    out.end_call();
    co_return true;
  }

 private:
  const std::vector<std::string> markers_ = {"<|tool_call_begin|>",
                                             "<|tool_calls_section_begin|>",
                                             "<|tool_call_section_begin|>",
                                             "<|tool_calls_section_end|>",
                                             "<|tool_call_section_end|>",
                                             std::string(kCallEnd)};
  const std::vector<std::string> id_ends_ = {"<|tool_call_argument_begin|>", std::string(kCallEnd)};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_kimi_k2() {
  return std::make_unique<KimiK2>();
}

}  // namespace quern
