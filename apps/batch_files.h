// SPDX-License-Identifier: Apache-2.0
// The files of run-batch: lines in, lines out, and what of an interrupted run is there already.
#pragma once

#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <unordered_set>

#include "base/clock.h"

namespace quern {

// Reads a file line by line, one thread at a time; a line longer than the limit comes cut, so that
// no file fills the memory.
class LineReader {
 public:
  static constexpr size_t kMaxLineBytes = size_t{64} << 20;

  explicit LineReader(const std::string& path);  // throws not_found
  ~LineReader();
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its line feed, and its number from 1; false at the end. Throws data_loss
  // where the file cannot be read on.
  bool next(std::string& line, int64_t& number);
  // Behind the last line that ended in a line feed.
  int64_t whole_bytes() const { return whole_bytes_; }

 private:
  std::FILE* file_ = nullptr;
  int64_t number_ = 0, whole_bytes_ = 0;
};

// What a batch asks, looked through once before anything is loaded.
struct BatchInput {
  int64_t lines = 0;  // that are not blank
  std::unordered_set<std::string> keys;
};
// Throws invalid_argument for a custom_id that stands in two lines, naming both.
BatchInput look_through(const std::string& path);

// OUT.part, which becomes OUT when all is done. Safe to use from several threads at once.
class BatchOutput {
 public:
  // Goes on behind what `path`.part holds, if there is one: a last line that was cut off is
  // dropped. Throws invalid_argument if it holds answers to lines that are not in `input`.
  BatchOutput(std::string path, const BatchInput& input, const Clock& clock);
  ~BatchOutput();
  BatchOutput(const BatchOutput&) = delete;
  BatchOutput& operator=(const BatchOutput&) = delete;

  bool has(const std::string& key) const { return done_.contains(key); }
  size_t done() const { return done_.size(); }  // when it was opened
  // Adds a line; from time to time the disk has them all. Throws exhausted where it is full.
  void write(const std::string& line);
  // All lines are there: gives the file its name.
  void finish();

 private:
  void sync();

  const std::string path_, part_;
  const Clock& clock_;
  std::unordered_set<std::string> done_;
  std::mutex mutex_;
  std::FILE* file_ = nullptr;
  int64_t synced_us_ = 0;
};

}  // namespace quern
