// SPDX-License-Identifier: Apache-2.0
// TextReader: a text that arrives in pieces, read by one coroutine a byte at a time. What is read
// cannot depend on how it was cut, because the coroutine cannot see where a piece ends.
#pragma once

#include <coroutine>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "api/parsers/task.h"

namespace quern {

// Where plain text goes.
class TextSink {
 public:
  virtual ~TextSink() = default;
  virtual void take(std::string_view text) = 0;
  // Nothing more is of use: who fills it stops.
  virtual bool is_full() const { return false; }
};

class TextReader {
 public:
  static constexpr int kEnd = -1;

  TextReader() = default;
  TextReader(const TextReader&) = delete;
  TextReader& operator=(const TextReader&) = delete;

  // More text, or its end: the coroutine that waits goes on until it wants more.
  void feed(std::string_view text);
  void close();

  struct Peek {
    TextReader& reader;
    bool await_ready() const {
      return reader.position_ < reader.buffer_.size() || reader.is_closed_;
    }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> waiting) {
      reader.waiting_ = &waiting.promise();
    }
    int await_resume() const;
  };
  // co_await: the next byte, which stays where it is; kEnd behind the last one.
  Peek peek() { return Peek{*this}; }
  void skip(size_t bytes = 1) { position_ += bytes; }  // of those that were peeked at
  size_t offset() const { return dropped_ + position_; }
  // What has arrived and was not read; for what does the same with each byte.
  std::string_view available() const { return std::string_view(buffer_).substr(position_); }

  // Hands what stands in front of the first of `markers` to `sink` and skips the marker. Its index,
  // or kEnd at the end of the text or where the sink is full. No marker may begin another one.
  ParserTask<int> until(std::span<const std::string> markers, TextSink& sink);
  // Skips `text` if it comes next; else nothing.
  ParserTask<bool> accept(std::string_view text);
  // Skips blanks; the byte behind them, not skipped.
  ParserTask<int> skip_space();

  // While it lives the reader can go back to where it was made.
  class Hold {
   public:
    explicit Hold(TextReader& reader);
    ~Hold() { release(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    void rewind() { reader_.position_ = begin_ - reader_.dropped_; }
    size_t length() const { return reader_.offset() - begin_; }
    void release();

   private:
    TextReader& reader_;
    const size_t begin_;
    bool is_released_ = false;
  };

 private:
  void resume();

  std::string buffer_;
  size_t position_ = 0;  // in buffer_
  size_t dropped_ = 0;   // bytes that stood in front of buffer_
  int holds_ = 0;
  bool is_closed_ = false;
  TaskPromise* waiting_ = nullptr;  // the task that wants more
};

}  // namespace quern
