// SPDX-License-Identifier: Apache-2.0
// Any bytes as a template: they compile or are refused, and render within small limits or are
// refused.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "text/jinja/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const quern::Json kVariables = quern::Json::parse(R"({
    "messages": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi \u4e2d\u6587"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1.5}}}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "n": 3})");
  const quern::TemplateLimits limits{
      .max_output_bytes = 1 << 16, .max_steps = 20'000, .max_depth = 60};
  try {
    const quern::ChatTemplate chat({reinterpret_cast<const char*>(data), size}, limits);
    chat.render(kVariables, 1'741'944'413);
  } catch (const quern::Error& e) {
    if (e.code() == quern::ErrorCode::internal) __builtin_trap();
  }
  return 0;
}
