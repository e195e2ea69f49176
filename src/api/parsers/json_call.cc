// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/json_call.h"

#include <nlohmann/json.hpp>

#include "api/parsers/json_text.h"
#include "base/error.h"

namespace quern {
namespace {

// The text of a JSON string.
std::string text_of(const std::string& json) {
  try {
    const Json value = parse_json(json, "a string of a tool call");
    return value.is_string() ? value.get<std::string>() : std::string();
  } catch (const Error&) {
    return {};  // half a surrogate pair: no name
  }
}

// Arguments that are no object: models write null for none, and some write the object as a string.
std::string as_object(const std::string& json) {
  if (json == "null") return "{}";
  if (json.starts_with('{')) return json;
  if (!json.starts_with('"')) return {};
  const auto inner = JsonText::whole(text_of(json));
  return inner && inner->starts_with('{') ? *inner : std::string();
}

// The call that an object spells, key by key.
class JsonCall {
 public:
  JsonCall(TextReader& in, AnswerWriter& out, const ToolSet& tools, bool only_known)
      : in_(in), out_(out), tools_(tools), only_known_(only_known) {}

  ParserTask<bool> read_members();
  CallEnd end(bool is_whole);

 private:
  ParserTask<bool> read_member();
  ParserTask<bool> read_call_arguments();
  bool is_complete() const { return !name_.empty() && has_arguments_; }

  TextReader& in_;
  AnswerWriter& out_;
  const ToolSet& tools_;
  const bool only_known_;
  std::string name_, arguments_;
  bool has_arguments_ = false, is_begun_ = false;
};

ParserTask<bool> JsonCall::read_call_arguments() {
  has_arguments_ = true;
  const int c = co_await in_.peek();
  if (c == '{' && !name_.empty()) {
    is_begun_ = out_.begin_call(name_);
    if (!is_begun_) co_return false;
    const bool is_whole = co_await read_arguments(in_, out_);
    co_return is_whole;
  }
  std::string json;
  const bool is_json = co_await read_json(in_, json);
  if (is_json) arguments_ = as_object(json);
  co_return !arguments_.empty();
}

ParserTask<bool> JsonCall::read_member() {
  std::string key, value;
  const bool has_key = co_await read_json(in_, key);
  if (!has_key || key[0] != '"') co_return false;
  const int colon = co_await in_.skip_space();
  if (colon != ':') co_return false;
  in_.skip();
  co_await in_.skip_space();
  const bool is_arguments = key == "\"arguments\"" || key == "\"parameters\"";
  bool has_value = false;
  if (is_arguments && !has_arguments_) {
    has_value = co_await read_call_arguments();
    co_return has_value;
  }
  has_value = co_await read_json(in_, value);
  if (!has_value) co_return false;
  if (key != "\"name\"" || is_begun_) co_return true;
  name_ = text_of(value);
  co_return !name_.empty() && (!only_known_ || tools_.has(name_));
}

ParserTask<bool> JsonCall::read_members() {
  const int begin = co_await in_.peek();
  if (begin != '{') co_return false;
  in_.skip();
  bool is_first = true;
  while (true) {
    int c = co_await in_.skip_space();
    if (c == '}') {
      in_.skip();
      co_return !name_.empty();
    }
    // A call that is all there is one, also where the last brace is missing.
    if (!is_first && c != ',') co_return is_complete();
    if (!is_first) {
      in_.skip();
      co_await in_.skip_space();
    }
    is_first = false;
    const bool is_member = co_await read_member();
    if (!is_member) co_return false;
  }
}

CallEnd JsonCall::end(bool is_whole) {
  if (!is_whole && out_.is_call_shown()) return CallEnd::broken;
  if (is_whole && !is_begun_) {
    is_whole = out_.begin_call(name_);
    if (is_whole) out_.arguments(has_arguments_ ? arguments_ : "{}");
  }
  if (is_whole)
    out_.end_call();
  else
    out_.abandon_call();
  return is_whole ? CallEnd::whole : CallEnd::none;
}

}  // namespace

ParserTask<bool> read_json(TextReader& in, std::string& out) {
  JsonText json;
  co_await in.skip_space();
  while (out.size() <= AnswerWriter::kMaxHeldBytes) {
    const int c = co_await in.peek();
    if (c == TextReader::kEnd) co_return json.ends_whole();
    const auto step = json.step(static_cast<char>(c), out);
    if (step == JsonText::Step::broken) co_return false;
    if (step == JsonText::Step::behind) co_return true;
    in.skip();
    if (step == JsonText::Step::done) co_return true;
  }
  co_return false;
}

ParserTask<bool> read_arguments(TextReader& in, AnswerWriter& out) {
  JsonText json;
  std::string piece;
  while (true) {
    // At the end of what has arrived the piece is given out: it must not wait for more.
    if (in.available().empty() && !piece.empty()) {
      out.arguments(piece);
      piece.clear();
    }
    const int c = co_await in.peek();
    const auto step =
        c == TextReader::kEnd ? JsonText::Step::broken : json.step(static_cast<char>(c), piece);
    if (step == JsonText::Step::more) {
      in.skip();
      continue;
    }
    if (step == JsonText::Step::done) in.skip();
    if (!piece.empty()) out.arguments(piece);
    co_return step != JsonText::Step::broken;
  }
}

ParserTask<CallEnd> read_json_call(TextReader& in,
                                   AnswerWriter& out,
                                   const ToolSet& tools,
                                   bool only_known) {
  JsonCall call(in, out, tools, only_known);
  const bool is_whole = co_await call.read_members();
  co_return call.end(is_whole);
}

ParserTask<bool> pass_on_broken(TextReader& in,
                                AnswerWriter& out,
                                std::string_view end,
                                std::string_view wrapping) {
  const std::vector<std::string> markers = {std::string(end)};
  StringSink rest(SIZE_MAX);  // an answer is bounded by its tokens
  const int which = co_await in.until(markers, rest);
  const bool has_end = which != TextReader::kEnd;
  std::string_view text = rest.text;
  if (has_end) {
    text = text.substr(0, text.find_last_not_of(" \n\t\r") + 1);
    if (text.ends_with(wrapping)) text.remove_suffix(wrapping.size());
  }
  out.arguments(text);
  out.end_call();
  co_return true;
}

}  // namespace quern
