// SPDX-License-Identifier: Apache-2.0
#include "api/parsers/text_reader.h"

#include <algorithm>

namespace quern {
namespace {

constexpr size_t kDropBytes = 4096;  // read text is dropped in pieces of at least this

bool is_space(int c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

enum class Match { none, begins, whole };

Match match_of(std::string_view text, std::span<const std::string> markers, int& which) {
  Match best = Match::none;
  for (size_t i = 0; i < markers.size(); ++i) {
    if (!markers[i].starts_with(text)) continue;
    if (markers[i].size() == text.size()) {
      which = static_cast<int>(i);
      return Match::whole;
    }
    best = Match::begins;
  }
  return best;
}

// How many bytes at the front begin no marker.
size_t plain_run(std::string_view text, std::span<const std::string> markers) {
  const auto begins_marker = [&](char c) {
    return std::any_of(
        markers.begin(), markers.end(), [c](const std::string& marker) { return marker[0] == c; });
  };
  return static_cast<size_t>(std::find_if(text.begin(), text.end(), begins_marker) - text.begin());
}

}  // namespace

void TextReader::feed(std::string_view text) {
  if (holds_ == 0 && position_ >= kDropBytes) {
    buffer_.erase(0, position_);
    dropped_ += position_;
    position_ = 0;
  }
  buffer_ += text;
  resume();
}

void TextReader::close() {
  is_closed_ = true;
  resume();
}

void TextReader::resume() {
  if (!waiting_ || !Peek{*this}.await_ready()) return;
  TaskPromise* task = std::exchange(waiting_, nullptr);
  task->handle.resume();
  while (task->handle.done() && task->caller) {
    task = task->caller;
    task->handle.resume();
  }
}

int TextReader::Peek::await_resume() const {
  if (reader.position_ == reader.buffer_.size()) return kEnd;
  return static_cast<unsigned char>(reader.buffer_[reader.position_]);
}

ParserTask<int> TextReader::until(std::span<const std::string> markers, TextSink& sink) {
  std::string held;  // may begin a marker
  while (!sink.is_full()) {
    const int c = co_await peek();
    if (c == kEnd) {
      if (!held.empty()) sink.take(held);
      co_return kEnd;
    }
    if (held.empty()) {
      if (const size_t run = plain_run(available(), markers); run > 0) {
        sink.take(available().substr(0, run));
        skip(run);
        continue;
      }
    }
    skip();
    held += static_cast<char>(c);
    int which = kEnd;
    size_t freed = 0;
    Match match = match_of(held, markers, which);
    while (match == Match::none && freed < held.size())
      match = match_of(std::string_view(held).substr(++freed), markers, which);
    if (freed > 0) sink.take(std::string_view(held).substr(0, freed));
    held.erase(0, freed);
    if (match == Match::whole) co_return which;
  }
  co_return kEnd;
}

ParserTask<bool> TextReader::accept(std::string_view text) {
  Hold hold(*this);
  for (const char expected : text) {
    const int c = co_await peek();
    if (c != static_cast<unsigned char>(expected)) {
      hold.rewind();
      co_return false;
    }
    skip();
  }
  co_return true;
}

ParserTask<int> TextReader::skip_space() {
  while (true) {
    const int c = co_await peek();
    if (!is_space(c)) co_return c;
    skip();
  }
}

TextReader::Hold::Hold(TextReader& reader) : reader_(reader), begin_(reader.offset()) {
  ++reader_.holds_;
}

void TextReader::Hold::release() {
  if (!is_released_) --reader_.holds_;
  is_released_ = true;
}

}  // namespace quern
