// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quern {
namespace {

struct Fd {
  int value;
  ~Fd() {
    if (value >= 0) close(value);
  }
};

// Regular files only: a fifo or a device could block or never end.
Fd open_regular(const std::string& path, size_t& size) {
  Fd fd{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (fd.value < 0) fail(ErrorCode::not_found, "{}: {}", path, std::strerror(errno));
  struct stat info {};
  if (fstat(fd.value, &info) != 0)
    fail(ErrorCode::unavailable, "{}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail(ErrorCode::invalid_argument, "{}: not a regular file", path);
  size = static_cast<size_t>(info.st_size);
  return Fd{std::exchange(fd.value, -1)};
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const Fd fd = open_regular(path, size_);
  if (size_ == 0) return;
  void* mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.value, 0);
  if (mapped == MAP_FAILED)
    fail(ErrorCode::unavailable, "{}: cannot map {} bytes: {}", path, size_, std::strerror(errno));
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

namespace {

// A fault maps the pages around the one that was touched, in runs of this size at multiples of it:
// to give back less would leave crumbs of every tensor behind.
constexpr uintptr_t kFaultAround = uintptr_t{64} << 10;

void advise(std::span<const std::byte> file, size_t begin, size_t end, int advice) {
  if (begin >= end || file.empty()) return;
  const auto first = reinterpret_cast<uintptr_t>(file.data());  // a page's; so is what follows
  const uintptr_t from = std::max(first, (first + begin) / kFaultAround * kFaultAround);
  const uintptr_t to =
      std::min(first + file.size(), (first + end + kFaultAround - 1) / kFaultAround * kFaultAround);
  // Advice that is refused costs memory or time, not correctness.
  madvise(reinterpret_cast<void*>(from), to - from, advice);
}

}  // namespace

void MappedFile::read_ahead(size_t begin, size_t end) const {
  advise(bytes(), begin, end, MADV_WILLNEED);
}
void MappedFile::give_back(size_t begin, size_t end) const {
  advise(bytes(), begin, end, MADV_DONTNEED);
}

std::string read_file(const std::string& path, size_t max_bytes) {
  const MappedFile file(path);
  if (file.size() > max_bytes)
    fail(
        ErrorCode::invalid_argument, "{}: {} bytes, the limit is {}", path, file.size(), max_bytes);
  return std::string(file.text());
}

bool file_exists(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool is_directory(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace quern
