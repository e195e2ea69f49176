// SPDX-License-Identifier: Apache-2.0
#include "batch_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <unordered_map>

#include "api/batch_line.h"
#include "base/file.h"

namespace quern {
namespace {

constexpr int64_t kSyncIntervalUs = 2'000'000;

[[noreturn]] void fail_writing(const std::string& path) {
  const int reason = errno;
  fail(reason == ENOSPC || reason == EDQUOT ? ErrorCode::exhausted : ErrorCode::invalid_argument,
       "cannot write {}: {}; what is there is kept, so the same command goes on from it",
       path,
       std::strerror(reason));
}

void sync_folder_of(const std::string& path) {
  const std::string parent = std::filesystem::absolute(path).parent_path().string();
  const int folder = open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  fsync(folder);
  close(folder);
}

bool is_blank(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

// The keys of a partial output, and how many of its bytes are whole lines.
int64_t read_part(const std::string& part,
                  const BatchInput& input,
                  std::unordered_set<std::string>& done) {
  LineReader reader(part);
  std::string line;
  int64_t number = 0, good = 0;
  while (reader.next(line, number)) {
    const std::string key = batch_key(line);
    if (key.empty()) break;  // what a lost machine may leave at the end
    if (!input.keys.contains(key))
      fail(ErrorCode::invalid_argument,
           "{} line {} answers \"{}\", which is not in the input: it is left from another run. "
           "Remove it, or choose another output",
           part,
           number,
           key.substr(0, 64));
    if (reader.whole_bytes() == good) break;  // cut off in front of its line feed
    good = reader.whole_bytes();
    done.insert(key);
  }
  return good;
}

}  // namespace

LineReader::LineReader(const std::string& path) {
  if (is_directory(path)) fail(ErrorCode::not_found, "cannot read {}: it is a folder", path);
  file_ = std::fopen(path.c_str(), "re");
  if (!file_) fail(ErrorCode::not_found, "cannot read {}: {}", path, std::strerror(errno));
}

LineReader::~LineReader() {
  std::fclose(file_);
}

bool LineReader::next(std::string& line, int64_t& number) {
  line.clear();
  int64_t bytes = 0;
  int c = EOF;
  while ((c = getc_unlocked(file_)) != EOF && c != '\n') {
    ++bytes;
    if (line.size() < kMaxLineBytes) line += static_cast<char>(c);
  }
  if (std::ferror(file_))
    fail(ErrorCode::data_loss, "line {} cannot be read: {}", number_ + 1, std::strerror(errno));
  if (c == EOF && bytes == 0) return false;
  if (c == '\n') whole_bytes_ += bytes + 1;
  number = ++number_;
  return true;
}

BatchInput look_through(const std::string& path) {
  BatchInput out;
  std::unordered_map<std::string, int64_t> first;
  LineReader reader(path);
  std::string line;
  int64_t number = 0;
  while (reader.next(line, number)) {
    if (is_blank(line)) continue;
    ++out.lines;
    const std::string id = custom_id_of(line);
    if (id.empty()) {
      out.keys.insert(bad_line_key(number));
      continue;
    }
    const auto [other, is_new] = first.emplace(id, number);
    if (!is_new)
      fail(ErrorCode::invalid_argument,
           "{}: custom_id \"{}\" stands in line {} and in line {}: answers could not be told apart",
           path,
           id.substr(0, 64),
           other->second,
           number);
    out.keys.insert(id);
  }
  return out;
}

BatchOutput::BatchOutput(std::string path, const BatchInput& input, const Clock& clock)
    : path_(std::move(path)), part_(path_ + ".part"), clock_(clock), synced_us_(clock.now_us()) {
  if (file_exists(part_)) {
    const int64_t good = read_part(part_, input, done_);
    if (truncate(part_.c_str(), good) != 0) fail_writing(part_);
  }
  file_ = std::fopen(part_.c_str(), "ae");
  if (!file_) fail_writing(part_);
}

BatchOutput::~BatchOutput() {
  if (file_) std::fclose(file_);
}

void BatchOutput::write(const std::string& line) {
  const std::lock_guard lock(mutex_);
  const std::string whole = line + "\n";
  if (std::fwrite(whole.data(), 1, whole.size(), file_) != whole.size() || std::fflush(file_) != 0)
    fail_writing(part_);
  if (clock_.now_us() - synced_us_ >= kSyncIntervalUs) sync();
}

void BatchOutput::sync() {
  if (fdatasync(fileno(file_)) != 0) fail_writing(part_);
  synced_us_ = clock_.now_us();
}

void BatchOutput::finish() {
  const std::lock_guard lock(mutex_);
  sync();
  if (std::rename(part_.c_str(), path_.c_str()) != 0) fail_writing(path_);
  sync_folder_of(path_);
}

}  // namespace quern
