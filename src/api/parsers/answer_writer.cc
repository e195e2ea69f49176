// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/answer_writer.h"

#include "base/format.h"
#include "base/hash.h"

namespace quern {
namespace {

constexpr std::string_view kSpace = " \n\t\r";

std::string call_id(uint64_t seed, int index) {
  const auto bytes = std::as_bytes(std::span(&index, 1));
  return "call_" + hash_bytes(bytes, seed).hex().substr(0, 24);
}

}  // namespace

void AnswerWriter::content(std::string_view text) {
  if (drops_breaks_) {
    text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
    if (text.empty()) return;
    drops_breaks_ = false;
  }
  content_space_ += text;
  // Behind a call and in front of all text, blanks are layout too.
  if (!has_content_ && call_count_ > 0)
    content_space_.erase(0, content_space_.find_first_not_of(kSpace));
  const size_t last = content_space_.find_last_not_of(kSpace);
  if (last == std::string::npos) return;
  has_content_ = true;
  delta_.content.append(content_space_, 0, last + 1);
  content_space_.erase(0, last + 1);
}

void AnswerWriter::reasoning(std::string_view text) {
  if (!has_reasoning_) text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  const size_t last = text.find_last_not_of('\n');
  if (last == std::string_view::npos) {
    reasoning_breaks_ += text;
    return;
  }
  delta_.reasoning += reasoning_breaks_;
  delta_.reasoning += text.substr(0, last + 1);
  reasoning_breaks_ = text.substr(last + 1);
  has_reasoning_ = true;
}

void AnswerWriter::end_reasoning() {
  reasoning_breaks_.clear();
  drops_breaks_ = true;
}

bool AnswerWriter::begin_call(std::string name, std::string id) {
  if (!may_call()) return false;
  if (id.empty()) id = call_id(limits_.id_seed, call_count_);
  call_ = {call_count_, std::move(id), std::move(name), {}};
  is_shown_ = false;
  return true;
}

void AnswerWriter::arguments(std::string_view json) {
  if (is_shown_) return append_arguments(json);
  call_.arguments += json;
  if (call_.arguments.size() > limits_.held_bytes) show_call();
}

void AnswerWriter::append_arguments(std::string_view json) {
  auto& calls = delta_.tool_calls;
  if (calls.empty() || calls.back().index != call_.index)
    calls.push_back({call_.index, {}, {}, {}});
  calls.back().arguments += json;
}

void AnswerWriter::show_call() {
  is_shown_ = true;
  ++call_count_;
  delta_.tool_calls.push_back(call_);
  call_.arguments.clear();
}

void AnswerWriter::end_call() {
  if (!is_shown_) show_call();
  is_shown_ = false;
}

void AnswerWriter::abandon_call() {
  is_shown_ = false;
  call_.arguments.clear();
}

void AnswerWriter::finish() {
  if (call_count_ == 0) delta_.content += content_space_;
  content_space_.clear();
}

std::string json_escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 8);
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          out += format("\\u{:04x}", static_cast<unsigned char>(c));
        else
          out += c;
    }
  }
  return out;
}

}  // namespace quern
