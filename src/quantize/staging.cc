// SPDX-License-Identifier: Apache-2.0
#include "quantize/staging.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/file_hash.h"
#include "base/json.h"
#include "base/log.h"
#include "weights/safetensors_writer.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kState = "/.quern-state.json", kLock = "/.lock";
constexpr size_t kLinkedBytes = size_t{64} << 20;

void sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

// False for a lock whose folder has taken its final name meanwhile.
bool is_file_of(int fd, const std::string& path) {
  struct stat held {
  }, named{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

[[noreturn]] void refuse(const std::string& path, const char* what, const std::error_code& error) {
  fail(error == std::errc::no_space_on_device ? ErrorCode::exhausted : ErrorCode::unavailable,
       "{}: {}: {}",
       path,
       what,
       error.message());
}

}  // namespace

FileMark mark_of(const std::string& path) {
  return {static_cast<int64_t>(fs::file_size(path)), hash_file(path).hex()};
}

Staging::Staging(const std::string& out, const std::string& key)
    : out_(without_slash(out)), part_(out_ + ".part"), key_(key) {
  if (fs::exists(fs::symlink_status(out_)))
    fail(ErrorCode::invalid_argument,
         "{}: exists already: name another folder, or remove it first",
         out_);
  std::error_code error;
  fs::create_directories(part_, error);
  if (error) refuse(part_, "cannot be made", error);
  const std::string lock = part_ + std::string(kLock);
  lock_ = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) refuse(lock, "cannot be made", {errno, std::generic_category()});
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0 || !is_file_of(lock_, lock)) {
    ::close(lock_);
    fail(ErrorCode::unavailable,
         "{}: another process is making this folder: wait for it, or name another OUT",
         part_);
  }
  resume();
}

Staging::~Staging() {
  if (lock_ >= 0) ::close(lock_);
}

void Staging::resume() {
  if (file_exists(part_ + std::string(kState))) {
    try {
      const Json state = read_json_file(part_ + std::string(kState));
      if (state.at("key") == key_)
        for (const auto& [file, mark] : state.at("files").items())
          finished_[file] = {mark.at("bytes").get<int64_t>(), mark.at("xxh3").get<std::string>()};
      else
        log(LogLevel::warn,
            "{}: left by a run with another source or other settings: discarded",
            part_);
    } catch (const std::exception& e) {
      log(LogLevel::warn, "{}: the state of an earlier run is unreadable: discarded", part_);
      finished_.clear();
    }
  }
  for (auto it = finished_.begin(); it != finished_.end();) {
    const std::string path = part_ + "/" + it->first;
    const bool is_good = file_exists(path) && mark_of(path) == it->second;
    if (!is_good) log(LogLevel::warn, "{}: not what it was when it was finished: made anew", path);
    it = is_good ? std::next(it) : finished_.erase(it);
  }
  for (const std::string& file : files_beneath(part_))
    if (!finished_.contains(file)) fs::remove(part_ + "/" + file);
}

void Staging::expect_room(int64_t bytes) const {
  const fs::space_info space = fs::space(part_);
  if (static_cast<int64_t>(space.available) >= bytes) return;
  fail(ErrorCode::exhausted,
       "{}: needs {:.2f} GB more, the disk has {:.2f} GB: make room, or name an OUT elsewhere",
       part_,
       1e-9 * static_cast<double>(bytes),
       1e-9 * static_cast<double>(space.available));
}

bool Staging::is_finished(const std::string& file) const {
  return finished_.contains(file);
}

void Staging::set_finished(const std::string& file) {
  finished_[file] = mark_of(part_ + "/" + file);
  save();
}

void Staging::forget(const std::string& file) {
  if (finished_.erase(file) > 0) save();
  std::error_code ignored;
  fs::remove(part_ + "/" + file, ignored);
}

void Staging::save() const {
  Json state{{"key", key_}, {"files", Json::object()}};
  for (const auto& [file, mark] : finished_)
    state["files"][file] = {{"bytes", mark.bytes}, {"xxh3", mark.hash}};
  write_file_whole(part_ + std::string(kState), state.dump(1) + "\n");
}

void Staging::publish() {
  fs::remove(part_ + std::string(kState));
  sync_folder(part_);
  // RENAME_NOREPLACE: an OUT that appeared meanwhile, even an empty folder, is not ours to replace.
  if (::renameat2(AT_FDCWD, part_.c_str(), AT_FDCWD, out_.c_str(), RENAME_NOREPLACE) != 0)
    refuse(out_, "cannot take its name", {errno, std::generic_category()});
  // Only now: without its lock, OUT.part would be anybody's to clear.
  std::error_code ignored;
  fs::remove(out_ + std::string(kLock), ignored);
  sync_folder(out_);
  sync_folder(fs::absolute(out_).parent_path());
}

void Staging::discard() {
  std::error_code ignored;
  fs::remove_all(part_, ignored);
}

void carry_file(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_directories(fs::path(to).parent_path(), error);
  const fs::path real = fs::canonical(from);
  if (fs::file_size(real) >= kLinkedBytes) {
    fs::create_hard_link(real, to, error);
    if (!error) return;
  }
  FileWriter out(to);
  const MappedFile in(real);
  for (size_t at = 0; at < in.size(); at += kLinkedBytes) {
    const size_t end = std::min(in.size(), at + kLinkedBytes);
    out.write(in.bytes().subspan(at, end - at));
    in.give_back(at, end);
  }
  out.finish();
}

std::vector<std::string> files_beneath(const std::string& folder) {
  std::vector<std::string> out;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::recursive_directory_iterator();
       ++it) {
    const std::string name = it->path().filename();
    if (name.starts_with('.')) {
      if (it->is_directory()) it.disable_recursion_pending();
    } else if (it->is_regular_file()) {
      out.push_back(it->path().lexically_relative(folder));
    }
  }
  std::ranges::sort(out);
  return out;
}

}  // namespace quern
