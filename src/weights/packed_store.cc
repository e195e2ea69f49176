// SPDX-License-Identifier: Apache-2.0
#include "weights/packed_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".packed", kUnfinished = ".unfinished";
constexpr int64_t kDefaultLimit = 50'000'000'000;
constexpr time_t kMinute = 60;

// One file of the checkpoint as a line of what is hashed.
std::string describe(const fs::path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return format("{} absent\n", path.filename().string());
  return format("{} {} {} {} {}.{} {}.{}\n",
                path.filename().string(),
                info.st_dev,
                info.st_ino,
                info.st_size,
                info.st_mtim.tv_sec,
                info.st_mtim.tv_nsec,
                info.st_ctim.tv_sec,
                info.st_ctim.tv_nsec);
}

// Of a folder: configs and weights; notes beside them change nothing.
std::vector<fs::path> files_at(const std::string& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return {path};
  std::vector<fs::path> out;
  for (const fs::directory_entry& entry : fs::directory_iterator(path, ignored)) {
    const std::string kind = entry.path().extension().string();
    if (kind == ".json" || kind == ".safetensors" || kind == ".gguf") out.push_back(entry.path());
  }
  std::ranges::sort(out);
  return out;
}

struct OwnedFile {
  int value = -1;
  std::string path;
  ~OwnedFile() {
    if (value >= 0) ::close(value);
    if (!path.empty()) ::unlink(path.c_str());
  }
};

// Files whose names end in `suffix`, the least recently used first.
struct StoredFile {
  fs::path path;
  int64_t bytes = 0;
  timespec used{};
};

std::vector<StoredFile> list(const std::string& folder, std::string_view suffix) {
  std::vector<StoredFile> out;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    struct stat info {};
    const std::string name = entry.path().filename().string();
    if (name.ends_with(suffix) && lstat(entry.path().c_str(), &info) == 0 && S_ISREG(info.st_mode))
      out.push_back({entry.path(), info.st_size, info.st_mtim});
  }
  std::ranges::sort(
      out, {}, [](const StoredFile& f) { return std::pair(f.used.tv_sec, f.used.tv_nsec); });
  return out;
}

// What processes left that ended while they wrote: nobody holds its lock. A file that was made just
// now may not have been locked yet.
void remove_unfinished(const std::string& folder) {
  for (const StoredFile& left : list(folder, kUnfinished)) {
    if (left.used.tv_sec + kMinute > time(nullptr)) continue;
    OwnedFile file{::open(left.path.c_str(), O_RDONLY | O_CLOEXEC), {}};
    if (file.value >= 0 && flock(file.value, LOCK_EX | LOCK_NB) == 0) unlink(left.path.c_str());
  }
}

// A new file beside the one it is to become.
OwnedFile begin_file(const std::string& path) {
  std::string name = format("{}.XXXXXX{}", path, kUnfinished);
  const int file = mkostemps(name.data(), static_cast<int>(kUnfinished.size()), O_CLOEXEC);
  if (file < 0) fail(ErrorCode::unavailable, "{}: cannot be made: {}", name, std::strerror(errno));
  flock(file, LOCK_EX | LOCK_NB);
  return {file, std::move(name)};
}

void sync_folder(const std::string& folder) {
  const OwnedFile file{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), {}};
  if (file.value >= 0) fsync(file.value);
}

}  // namespace

Hash128 identity_of(const Checkpoint& checkpoint, const std::string& path) {
  std::string text;
  for (const fs::path& file : files_at(path)) text += describe(file);
  for (const std::string& name : checkpoint.names()) {
    const TensorInfo& info = checkpoint.info(name);
    text += format("{} {} {}\n", name, name_of(info.stored), info.shape.text());
  }
  // It says how stacked tensors are told apart.
  text += json_text(checkpoint.config().json());
  return hash_bytes(std::as_bytes(std::span(text)));
}

std::string PackedStore::path_of(const Hash128& key) const {
  return format("{}/{}{}", folder_, key.hex(), kSuffix);
}

std::unique_ptr<PackedFile> PackedStore::open(const Hash128& key, ThreadPool& pool) const {
  const std::string path = path_of(key);
  if (folder_.empty() || !file_exists(path)) return nullptr;
  try {
    auto file = std::make_unique<PackedFile>(path, key, pool);
    utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // used now
    return file;
  } catch (const Error& e) {
    log(LogLevel::warn, "packed cache: {}; it is removed and will be made anew", e.what());
    unlink(path.c_str());
    return nullptr;
  }
}

int64_t PackedStore::limit() const {
  if (max_bytes_ >= 0) return max_bytes_;
  std::error_code failure;
  const fs::space_info disk = fs::space(folder_, failure);
  if (failure) return kDefaultLimit;
  int64_t held = 0;
  for (const StoredFile& file : list(folder_, kSuffix)) held += file.bytes;
  return std::min(kDefaultLimit, (static_cast<int64_t>(disk.available) + held) / 2);
}

void PackedStore::make_room(int64_t bytes, const std::string& replaced) const {
  const int64_t most = limit();
  if (bytes > most)
    fail(ErrorCode::exhausted,
         "{}: {} bytes are more than the limit of {} (--packed-cache-bytes)",
         replaced,
         bytes,
         most);
  std::vector<StoredFile> files = list(folder_, kSuffix);
  std::erase_if(files, [&](const StoredFile& file) { return file.path == replaced; });
  int64_t sum = bytes;
  for (const StoredFile& file : files) sum += file.bytes;
  for (const StoredFile& file : files) {
    if (sum <= most) return;
    log(LogLevel::info, "packed cache: removed {}, not used for longest", file.path.string());
    unlink(file.path.c_str());
    sum -= file.bytes;
  }
}

int64_t PackedStore::write(const Hash128& key,
                           std::span<const PackedEntry> entries,
                           ThreadPool& pool) const {
  if (folder_.empty())
    fail(ErrorCode::unavailable, "neither XDG_CACHE_HOME nor HOME names a folder for it");
  std::error_code failure;
  fs::create_directories(folder_, failure);
  if (failure) fail(ErrorCode::unavailable, "{}: cannot be made: {}", folder_, failure.message());
  const std::string path = path_of(key);
  remove_unfinished(folder_);
  const int64_t bytes = packed_file_bytes(entries);
  OwnedFile file = begin_file(path);
  make_room(bytes, path);
  write_packed_file(file.value, file.path, key, entries, pool);
  if (rename(file.path.c_str(), path.c_str()) != 0)
    fail(ErrorCode::unavailable, "{}: cannot be renamed: {}", file.path, std::strerror(errno));
  file.path.clear();
  sync_folder(folder_);
  return bytes;
}

}  // namespace quern
