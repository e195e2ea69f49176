// SPDX-License-Identifier: Apache-2.0
// Any text in any dialect: no crash, and the same joined deltas however it is cut. The first bytes
// choose dialect, reasoning and cuts.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "api/parsers/dialect_parser.h"
#include "api/parsers/registry.h"

namespace {

using namespace quern;

DialectParser::Options options_of(uint8_t choice) {
  static const std::vector<std::string> tool_names = tool_parser_names();
  static const std::vector<std::string> reasoning_names = reasoning_parser_names();
  static std::map<std::string, std::shared_ptr<const ToolDialect>> dialects;
  static const ToolSet tools(std::make_shared<const Json>(parse_json(
      R"([{"function": {"name": "f", "parameters": {"properties": {"s": {"type": "string"}, "i": {"type": "integer"},
          "o": {"anyOf": [{"type": "object"}, {"type": "null"}]}}}}}, {"function": {"name": "g"}}])",
      "tools")));
  DialectParser::Options out;
  const std::string& name = tool_names[1 + choice % (tool_names.size() - 1)];
  auto& dialect = dialects[name];
  if (!dialect) dialect = tool_dialect_of(name);
  out.dialect = dialect.get();
  out.tools = tools;
  if (choice & 0x80) out.reasoning = reasoning_family_of(reasoning_names[2 + choice % 3]);
  out.limits = {.max_calls = 4, .held_bytes = 16};
  return out;
}

std::string joined(const DialectParser::Options& options, std::string_view text, uint32_t cuts) {
  DialectParser parser(options);
  std::string reasoning, content, calls;
  const auto add = [&](const AnswerDelta& delta) {
    reasoning += delta.reasoning;
    content += delta.content;
    for (const ToolCallDelta& call : delta.tool_calls) {
      if (!call.id.empty()) calls += "\n" + call.id + " " + call.name + " ";
      calls += call.arguments;
    }
  };
  while (cuts != 0 && !text.empty()) {
    cuts = cuts * 1664525u + 1013904223u;
    const size_t bytes = 1 + (cuts >> 24) % 23;
    add(parser.push(text.substr(0, bytes)));
    text.remove_prefix(std::min(bytes, text.size()));
  }
  if (!text.empty()) add(parser.push(text));
  add(parser.finish());
  return reasoning + '\0' + content + '\0' + calls;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto options = options_of(data[0]);
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (joined(options, text, 0) != joined(options, text, data[1] + 1u)) std::abort();
  return 0;
}
