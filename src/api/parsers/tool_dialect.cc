// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/tool_dialect.h"

#include <algorithm>

namespace quern {

ParserTask<bool> ToolDialect::read_bare(TextReader&, AnswerWriter&, const ToolSet&) const {
  co_return false;
}

ParserTask<bool> read_call_list(TextReader& in,
                                AnswerWriter& out,
                                const ToolSet& tools,
                                ReadOne read_one) {
  const int before = out.call_count();
  while (true) {
    const bool is_first = out.call_count() == before;
    TextReader::Hold hold(in);
    co_await in.skip_space();
    bool goes_on = is_first, has_end = false;
    if (!is_first) {
      goes_on = co_await in.accept(",");
      co_await in.skip_space();
      has_end = co_await in.accept("]");
    }
    if (has_end) co_return true;
    bool is_call = goes_on;
    if (is_call) is_call = co_await read_one(in, out, tools);
    if (is_call) continue;
    hold.rewind();
    co_return !is_first;
  }
}

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= 256 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-.:/").find(c) != std::string_view::npos;
  });
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \n\t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \n\t\r") + 1 - begin);
}

}  // namespace quern
