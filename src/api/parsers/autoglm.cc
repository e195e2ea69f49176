// SPDX-License-Identifier: Apache-2.0
// AutoGLM-Phone's action language: one Python call that says what the phone does next,
//   <answer>do(action="Tap", element=[499, 182])</answer>
//   finish(message="Done.")
// Shown as a call of "do" or "finish"; the request declares no tools, the language has its own.
// Models write quotes into texts as they are, so a text that is no literal goes on to the end of
// the call, as the published client reads it (Open-AutoGLM, phone_agent/actions/handler.py).
#include "api/parsers/python_literal.h"
#include "api/parsers/tool_dialect.h"

namespace quern {
namespace {

constexpr size_t kMaxCallBytes = size_t{16}
                                 << 10;  // no action is longer; texts that are none end here

enum Marker : int { kDo, kFinish, kTagBegin, kTagEnd };

// `value")`: what stands between the quotes of the call's last argument, which may hold quotes.
std::optional<std::string_view> last_text(std::string_view text) {
  text = trim(text);
  if (!text.ends_with(')')) return std::nullopt;
  text = trim(text.substr(0, text.size() - 1));
  const bool is_quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') &&
                         text.back() == text.front();
  if (!is_quoted) return std::nullopt;
  return text.substr(1, text.size() - 2);
}

// The arguments of a call whose last one is a text to be taken as it is: `rest` is all that stands
// behind the opening bracket.
std::optional<std::string> text_arguments(int which, std::string_view rest) {
  const std::string_view key = which == kFinish ? "message" : "text";
  const size_t at = rest.find(std::string(key) + "=");
  if (at == std::string_view::npos || (which == kFinish && at != 0)) return std::nullopt;
  const auto text = last_text(rest.substr(at + key.size() + 1));
  const auto others = python_arguments_to_json(rest.substr(0, at));
  if (!text || !others) return std::nullopt;
  std::string out = others->substr(0, others->size() - 1);  // without its bracket
  if (out.size() > 1) out += ", ";
  return out + '"' + std::string(key) + "\": \"" + json_escaped(*text) + "\"}";
}

// What stands up to the bracket that closes the call, which is skipped; nothing if it never comes.
// Follows Python's strings.
ParserTask<bool> read_to_close(TextReader& in, std::string& text) {
  int64_t depth = 1;
  char quote = 0;
  bool is_escaped = false;
  while (text.size() <= kMaxCallBytes) {
    const int next = co_await in.peek();
    if (next == TextReader::kEnd) co_return false;
    in.skip();
    const auto c = static_cast<char>(next);
    if (quote != 0) {
      if (is_escaped)
        is_escaped = false;
      else if (c == '\\')
        is_escaped = true;
      else if (c == quote)
        quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '(' || c == '[' || c == '{') {
      ++depth;
    } else if (c == ')' || c == ']' || c == '}') {
      if (--depth == 0) co_return true;
    }
    text += c;
  }
  co_return false;
}

// Whether the text, but for blanks, the line or the answer ends here; nothing is skipped.
ParserTask<bool> is_end_of_line(TextReader& in) {
  TextReader::Hold hold(in);
  int c = co_await in.peek();
  while (c == ' ' || c == '\t') {
    in.skip();
    c = co_await in.peek();
  }
  hold.rewind();
  co_return c == TextReader::kEnd || c == '\n' || c == '\r' || c == '<';
}

class AutoGlm final : public ToolDialect {
 public:
  const std::vector<std::string>& markers() const override { return markers_; }
  bool has_own_tools() const override { return true; }

  ParserTask<bool> read(TextReader& in,
                        AnswerWriter& out,
                        const ToolSet&,
                        int which) const override {
    if (which == kTagBegin || which == kTagEnd) co_return true;
    TextReader::Hold hold(in);
    const std::string begin = which == kDo ? "action=" : "message=";  // of what the brackets hold
    std::string closed = begin;
    const bool is_closed = co_await read_to_close(in, closed);
    const size_t length = hold.length();
    const auto literal = is_closed ? python_arguments_to_json(closed) : std::nullopt;
    bool is_last = is_closed && literal.has_value();
    if (is_last) is_last = co_await is_end_of_line(in);
    std::optional<std::string> json = literal;
    if (!is_last) {  // a text with quotes in it, perhaps
      hold.rewind();
      StringSink rest(kMaxCallBytes);
      co_await in.until(std::span(&markers_[kTagEnd], 1), rest);
      const auto as_text = rest.is_full() ? std::nullopt : text_arguments(which, begin + rest.text);
      if (as_text) {
        json = as_text;
      } else {
        hold.rewind();
        in.skip(length);  // text behind a whole call is text
      }
    }
    if (!json || !out.begin_call(which == kDo ? "do" : "finish")) co_return false;
    out.arguments(*json);
    out.end_call();
    co_return true;
  }

 private:
  const std::vector<std::string> markers_ = {
      "do(action=", "finish(message=", "<answer>", "</answer>"};
};

}  // namespace

std::unique_ptr<const ToolDialect> make_autoglm() {
  return std::make_unique<AutoGlm>();
}

}  // namespace quern
