// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/text_arguments.h"

namespace quern {

TextArguments::TextArguments(AnswerWriter& out,
                             const ToolSet& tools,
                             std::string tool,
                             bool is_in_lines)
    : out_(out), tools_(tools), tool_(std::move(tool)), is_in_lines_(is_in_lines) {}

void TextArguments::begin(std::string_view key) {
  out_.arguments(count_++ == 0 ? "{\"" : ", \"");
  out_.arguments(json_escaped(key));
  out_.arguments("\": ");
  types_ = tools_.types_of(tool_, key);
  is_streamed_ = is_always_text(types_);
  if (is_streamed_) out_.arguments("\"");
  is_at_start_ = is_in_lines_;
  has_break_ = false;
  text_.clear();
}

void TextArguments::put(std::string_view text) {
  if (is_streamed_)
    out_.arguments(json_escaped(text));
  else
    text_ += text;
}

void TextArguments::take(std::string_view text) {
  if (text.empty()) return;
  if (is_at_start_ && text[0] == '\n') text.remove_prefix(1);
  is_at_start_ = false;
  if (text.empty()) return;
  if (has_break_) put("\n");
  has_break_ = is_in_lines_ && text.ends_with('\n');
  if (has_break_) text.remove_suffix(1);
  put(text);
}

void TextArguments::end() {
  out_.arguments(is_streamed_ ? "\"" : argument_as_json(text_, types_));
}

void TextArguments::cut_off() {
  if (has_break_) put("\n");
  if (!is_streamed_) out_.arguments(text_);
}

void TextArguments::finish() {
  out_.arguments(count_ == 0 ? "{}" : "}");
}

ParserTask<int> read_tagged_value(TextReader& in,
                                  TextSink& value,
                                  std::span<const std::string> ends,
                                  std::span<const std::string> followers) {
  while (true) {
    const int which = co_await in.until(ends, value);
    if (which == TextReader::kEnd) co_return which;
    TextReader::Hold hold(in);
    const int next = co_await in.skip_space();
    bool is_end = next == TextReader::kEnd;
    for (size_t i = 0; i < followers.size() && !is_end; ++i)
      is_end = co_await in.accept(followers[i]);
    hold.rewind();
    if (is_end) co_return which;
    value.take(ends[static_cast<size_t>(which)]);
  }
}

}  // namespace quern
