// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/dialect_parser.h"

#include <algorithm>

namespace quern {

PromptThinking thinking_at_end(std::string_view prompt, const ReasoningFamily& family) {
  const size_t last = prompt.find_last_not_of(" \n\t\r");
  if (last == std::string_view::npos) return PromptThinking::unsaid;
  prompt = prompt.substr(0, last + 1);
  if (prompt.ends_with(family.begin)) return PromptThinking::open;
  return prompt.ends_with(family.end) ? PromptThinking::closed : PromptThinking::unsaid;
}

DialectParser::DialectParser(Options options)
    : options_(std::move(options)),
      family_(options_.reasoning.value_or(ReasoningFamily())),
      out_(options_.limits),
      content_(out_),
      reasoning_(out_),
      markers_(options_.dialect ? options_.dialect->markers() : std::vector<std::string>()) {
  markers_.emplace_back(family_.end);
  if (options_.reasoning && options_.reasoning->has_answer_tags)
    for (const std::string_view tag : {kAnswerBegin, kAnswerEnd})
      if (std::ranges::find(markers_, tag) == markers_.end()) markers_.emplace_back(tag);
  root_ = run();
}

// The opening tag, where the model writes it itself.
ParserTask<bool> DialectParser::skip_think_begin() {
  TextReader::Hold hold(in_);
  co_await in_.skip_space();
  const bool has_tag = co_await in_.accept(family_.begin);
  if (!has_tag) hold.rewind();
  co_return has_tag;
}

ParserTask<bool> DialectParser::read_reasoning() {
  const bool is_inside =
      options_.prompt == PromptThinking::open ||
      (options_.reasoning->begins_inside && options_.prompt == PromptThinking::unsaid);
  const bool has_tag = co_await skip_think_begin();
  if (!is_inside && !has_tag) co_return false;
  while (true) {
    const int which = co_await in_.until(markers_, reasoning_);
    if (which == TextReader::kEnd) co_return true;
    const std::string& marker = markers_[static_cast<size_t>(which)];
    if (marker == family_.end) break;
    if (is_answer_tag(marker)) {  // talks about it
      out_.reasoning(marker);
      continue;
    }
    // A model may go from thinking straight to a call.
    expects_think_end_ = co_await read_marked(which);
    if (expects_think_end_) break;
    out_.reasoning(marker);
  }
  out_.end_reasoning();
  co_return true;
}

// The first of the answer, and the one that ends it.
bool DialectParser::takes_answer_tag(std::string_view tag) {
  const bool is_begin = tag == kAnswerBegin;
  const bool is_due = is_begin ? !has_answer_begun_ && !out_.has_content() : has_answer_begun_;
  if (is_begin && is_due) has_answer_begun_ = true;
  if (!is_begin && is_due) out_.drop_blanks();
  return is_due;
}

// Behind a marker; if it begins no call the reader stands there again.
ParserTask<bool> DialectParser::read_marked(int which) {
  TextReader::Hold hold(in_);
  bool is_call = out_.may_call();
  if (is_call) is_call = co_await options_.dialect->read(in_, out_, options_.tools, which);
  if (!is_call) hold.rewind();
  co_return is_call;
}

// A call without a marker, with what separates it from the one in front of it.
ParserTask<bool> DialectParser::read_bare() {
  const char begin = options_.dialect->bare_begin();
  if (begin == 0 || !out_.may_call()) co_return false;
  TextReader::Hold hold(in_);
  int c = co_await in_.skip_space();
  if (out_.call_count() > 0 && (c == ';' || c == ',')) {
    in_.skip();
    c = co_await in_.skip_space();
  }
  bool is_call = c == begin;
  if (is_call) is_call = co_await options_.dialect->read_bare(in_, out_, options_.tools);
  if (!is_call) hold.rewind();
  co_return is_call;
}

ParserTask<bool> DialectParser::run() {
  if (options_.reasoning) co_await read_reasoning();
  co_await read_answer();
  co_return true;
}

// Behind the reasoning.
ParserTask<bool> DialectParser::read_answer() {
  bool may_be_bare = options_.dialect != nullptr;
  while (!is_complete()) {
    if (may_be_bare) may_be_bare = co_await read_bare();
    if (may_be_bare) continue;
    const int which = co_await in_.until(markers_, content_);
    if (which == TextReader::kEnd) break;
    const std::string& marker = markers_[static_cast<size_t>(which)];
    const bool is_think_end = marker == family_.end;
    if (is_answer_tag(marker)) {
      if (!takes_answer_tag(marker)) out_.content(marker);
      continue;
    }
    if (!is_think_end) may_be_bare = co_await read_marked(which);
    if (!may_be_bare && !(is_think_end && expects_think_end_)) out_.content(marker);
    expects_think_end_ = expects_think_end_ && !is_think_end;
  }
  co_return true;
}

AnswerDelta DialectParser::take() {
  if (root_.is_done()) root_.result();  // throws what went wrong
  AnswerDelta delta = out_.take();
  if (!options_.shows_reasoning) delta.reasoning.clear();
  return delta;
}

AnswerDelta DialectParser::push(std::string_view text) {
  in_.feed(text);
  return take();
}

AnswerDelta DialectParser::finish() {
  in_.close();
  out_.finish();
  return take();
}

bool DialectParser::is_complete() const {
  return options_.ends_after_calls && !out_.may_call() && !out_.is_call_shown();
}

}  // namespace quern
