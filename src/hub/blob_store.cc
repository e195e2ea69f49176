// SPDX-License-Identifier: Apache-2.0
#include "hub/blob_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "base/error.h"
#include "weights/hub_cache.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSpaceMargin = int64_t{64} << 20;  // folders, links, and what others write
constexpr mode_t kMode = 0644;

[[noreturn]] void fail_system(const std::string& path) {
  const int error = errno;
  fail(error == ENOSPC || error == EDQUOT ? ErrorCode::exhausted : ErrorCode::unavailable,
       "{}: {}",
       path,
       std::strerror(error));
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    fail(ErrorCode::unavailable,
         "{}: the folder cannot be made: {}",
         folder.string(),
         error.message());
}

void rename_to(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) fail_system(to);
}

// A new name's entry lies in the folder, which the disk writes by itself.
void sync_folder(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_system(path);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

int64_t size_of(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? -1 : static_cast<int64_t>(size);
}

}  // namespace

FileLock::FileLock(const std::string& path, std::string_view what)
    : descriptor_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kMode)) {
  if (descriptor_ < 0) fail_system(path);
  if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  close(descriptor_);
  if (error == EWOULDBLOCK)
    fail(ErrorCode::unavailable,
         "{}: another process is fetching or removing it just now; try again when it is done",
         what);
  errno = error;
  fail_system(path);
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

BlobStore::BlobStore(std::string cache, const std::string& repository)
    : cache_(std::move(cache)),
      name_(hub_cache_name(repository)),
      folder_(format("{}/{}", cache_, name_)) {}

bool BlobStore::has(const RepoFile& file) const {
  return size_of(blob(file)) == file.size_bytes;
}

int64_t BlobStore::resumable_bytes(const RepoFile& file) const {
  const int64_t size = size_of(incomplete(file));
  return size > file.size_bytes ? 0 : std::max<int64_t>(size, 0);
}

void BlobStore::prepare() const {
  make_folder(folder_ + "/blobs");
  make_folder(folder_ + "/refs");
  make_folder(folder_ + "/snapshots");
  make_folder(format("{}/.locks/{}", cache_, name_));
}

FileLock BlobStore::lock() const {
  return FileLock(format("{}/.locks/{}/quern.lock", cache_, name_), name_);
}

FileLock BlobStore::lock(const RepoFile& file) const {
  return FileLock(format("{}/.locks/{}/{}.lock", cache_, name_, file.hash), file.path);
}

void BlobStore::link(const std::string& commit, const RepoFile& file) const {
  const fs::path name = fs::path(snapshot(commit)) / file.path;
  make_folder(name.parent_path());
  // One step up for snapshots/COMMIT, and one for each folder of the file's own path.
  const auto depth = std::ranges::count(file.path, '/');
  std::string target = "../../";
  for (auto i = depth; i > 0; --i) target += "../";
  target += "blobs/" + file.hash;
  std::error_code error;
  if (fs::is_symlink(name, error) && fs::read_symlink(name, error) == target) return;
  const std::string temporary = name.string() + ".incomplete";
  fs::remove(temporary, error);
  if (symlink(target.c_str(), temporary.c_str()) != 0) fail_system(temporary);
  rename_to(temporary, name.string());
}

void BlobStore::set_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit) return;
  const std::string name = format("{}/refs/{}", folder_, revision);
  make_folder(fs::path(name).parent_path());
  const std::string temporary = name + ".incomplete";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  if (!(file << commit << std::flush)) fail_system(temporary);
  rename_to(temporary, name);
}

void BlobStore::require_space(int64_t bytes) const {
  struct statvfs disk;
  if (bytes <= 0 || statvfs(folder_.c_str(), &disk) != 0) return;
  const auto free = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  if (free < bytes + kSpaceMargin)
    fail(ErrorCode::exhausted,
         "{}: {:.2f} GB are to be fetched, {:.2f} GB are free there; make room (quern ls, quern "
         "rm), or set HF_HUB_CACHE to a folder on another disk",
         folder_,
         static_cast<double>(bytes) * 1e-9,
         static_cast<double>(free) * 1e-9);
}

BlobWriter::BlobWriter(const BlobStore& store, const RepoFile& file)
    : incomplete_(store.incomplete(file)), blob_(store.blob(file)) {
  const int64_t resumable = store.resumable_bytes(file);
  descriptor_ =
      open(incomplete_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, kMode);
  if (descriptor_ < 0) fail_system(incomplete_);
  written_bytes_ = resumable;
  if (ftruncate(descriptor_, resumable) != 0) fail_system(incomplete_);
}

BlobWriter::~BlobWriter() {
  if (descriptor_ >= 0) close(descriptor_);
}

void BlobWriter::append(std::span<const std::byte> bytes) {
  write_all(descriptor_, bytes, incomplete_);
  written_bytes_ += static_cast<int64_t>(bytes.size());
}

void BlobWriter::restart() {
  if (ftruncate(descriptor_, 0) != 0) fail_system(incomplete_);
  written_bytes_ = 0;
}

void BlobWriter::finish() {
  if (fsync(descriptor_) != 0) fail_system(incomplete_);
  close(std::exchange(descriptor_, -1));
  rename_to(incomplete_, blob_);
  sync_folder(fs::path(blob_).parent_path().string());
}

}  // namespace quern
