// SPDX-License-Identifier: Apache-2.0
#include "base/file_hash.h"

#define XXH_INLINE_ALL
#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

class OpenFile {
 public:
  explicit OpenFile(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ >= 0) return;
    const int error = errno;
    fail(error == ENOENT ? ErrorCode::not_found : ErrorCode::unavailable,
         "{}: cannot be opened: {}",
         path_,
         std::strerror(error));
  }
  ~OpenFile() { ::close(fd_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  // 0 at the end.
  size_t read(std::vector<std::byte>& buffer) const {
    for (;;) {
      const ssize_t count = ::read(fd_, buffer.data(), buffer.size());
      if (count >= 0) return static_cast<size_t>(count);
      const int error = errno;
      if (error != EINTR)
        fail(ErrorCode::unavailable, "{}: cannot be read: {}", path_, std::strerror(error));
    }
  }

 private:
  std::string path_;
  int fd_;
};

}  // namespace

Hash128 hash_file(const std::string& path) {
  const OpenFile file(path);
  std::vector<std::byte> buffer(kBufferBytes);
  alignas(64) XXH3_state_t state;
  XXH3_128bits_reset(&state);
  while (const size_t count = file.read(buffer)) XXH3_128bits_update(&state, buffer.data(), count);
  const XXH128_hash_t h = XXH3_128bits_digest(&state);
  return {h.low64, h.high64};
}

}  // namespace quern
