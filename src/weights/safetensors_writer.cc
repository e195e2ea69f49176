// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr size_t kBufferBytes = size_t{4} << 20;

[[noreturn]] void refuse(const std::string& path, const char* what) {
  const int error = errno;
  const bool is_full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  fail(is_full ? ErrorCode::exhausted : ErrorCode::unavailable,
       "{}: {}: {}{}",
       path,
       what,
       std::strerror(error),
       is_full ? "; make room and run the same command again: what is finished is kept" : "");
}

}  // namespace

FileWriter::FileWriter(const std::string& path)
    : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
  if (fd_ < 0) refuse(path_, "cannot be created");
  buffer_.reserve(kBufferBytes);
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void FileWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t count = std::min(bytes.size(), kBufferBytes - buffer_.size());
    buffer_.insert(
        buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    bytes = bytes.subspan(count);
    if (buffer_.size() == kBufferBytes) flush();
  }
}

void FileWriter::flush() {
  for (size_t at = 0; at < buffer_.size();) {
    const ssize_t wrote = ::write(fd_, buffer_.data() + at, buffer_.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) refuse(path_, "cannot be written");
    at += static_cast<size_t>(wrote);
  }
  buffer_.clear();
}

void FileWriter::finish() {
  flush();
  if (::fsync(fd_) != 0) refuse(path_, "cannot be brought to the disk");
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) refuse(path_, "cannot be closed");
}

void write_file_whole(const std::string& path, std::string_view text) {
  const std::string beside = path + ".new";
  FileWriter file(beside);
  file.write(std::as_bytes(std::span(text)));
  file.finish();
  if (std::rename(beside.c_str(), path.c_str()) != 0) refuse(path, "cannot take its name");
}

std::string safetensors_header(std::span<const SafetensorsEntry> entries,
                               std::span<const std::pair<std::string, std::string>> metadata) {
  Json root = Json::object();
  for (const auto& [key, value] : metadata) root["__metadata__"][key] = value;
  std::string text = root.dump();
  text.pop_back();  // entries are appended: an index of many names by Json would be quadratic
  size_t at = 0;
  for (const SafetensorsEntry& e : entries) {
    const auto size = static_cast<size_t>(stored_bytes(e.stored, e.shape, e.name));
    Json shape = Json::array();
    for (int i = 0; i < e.shape.rank(); ++i) shape.push_back(e.shape[i]);
    text += format(R"({}{}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                   text.size() > 1 ? "," : "",
                   Json(e.name).dump(),
                   safetensors_name(e.stored),
                   shape.dump(),
                   at,
                   at + size);
    at += size;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  return out + text;
}

}  // namespace quern
