// SPDX-License-Identifier: Apache-2.0
#include "model_copy.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "hub/listing.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPiece = int64_t{16} << 20;
constexpr int kSilentMs = 60'000;
constexpr size_t kMostFiles = 10'000, kMostListing = size_t{4} << 20;
constexpr int64_t kMostBytes = int64_t{1} << 50;  // of a file
constexpr uint32_t kNoFile = 0xffffffff;

struct Ask {
  uint32_t file = kNoFile, unused = 0;
  uint64_t piece = 0;
  Hash128 has;
};
struct Answer {
  uint64_t bytes = 0;
  Hash128 hash;
};

struct File {
  std::string name;  // below the model's folder; empty: the model is a file
  int64_t bytes = 0;
};

int64_t deadline_us() {
  return deadline_after(kSilentMs);
}

template <typename T>
void write_as_is(const Socket& socket, const T& value) {
  socket.write_all({reinterpret_cast<const char*>(&value), sizeof value}, deadline_us());
}

template <typename T>
T read_as_is(const Socket& socket) {
  T out;
  socket.read_all(reinterpret_cast<char*>(&out), sizeof out, deadline_us());
  return out;
}

int64_t pieces_of(const File& file) {
  return (file.bytes + kPiece - 1) / kPiece;
}

// Hidden files are nobody's weights. Links are followed: a cache keeps its files as such.
std::vector<File> files_of(const std::string& model) {
  if (!is_directory(model)) return {{"", static_cast<int64_t>(fs::file_size(model))}};
  std::vector<File> out;
  for (const auto& entry : fs::recursive_directory_iterator(model)) {
    const std::string name = entry.path().lexically_relative(model).string();
    if (!entry.is_regular_file() || name.starts_with('.') || name.find("/.") != std::string::npos)
      continue;
    if (!is_repo_path(name))
      fail(ErrorCode::unsupported, "{}/{}: a name that cannot be sent", model, name);
    if (out.size() == kMostFiles)
      fail(ErrorCode::unsupported, "{}: more than {} files", model, kMostFiles);
    out.push_back({name, static_cast<int64_t>(entry.file_size())});
  }
  std::ranges::sort(out, {}, &File::name);
  return out;
}

std::vector<File> parse_files(const Json& listing) {
  std::vector<File> out;
  if (listing.contains("problem"))
    fail(ErrorCode::unsupported, "the head: {}", listing.at("problem").get<std::string>());
  for (const Json& file : listing.at("files")) {
    out.push_back({file.at("name"), file.at("bytes")});
    const File& f = out.back();
    const bool is_model = f.name.empty() && listing.at("files").size() == 1;
    if ((!is_model && !is_repo_path(f.name)) || f.bytes < 0 || f.bytes > kMostBytes)
      fail(ErrorCode::data_loss, "the head's model has a file \"{}\" of {} bytes", f.name, f.bytes);
  }
  if (out.empty() || out.size() > kMostFiles)
    fail(ErrorCode::data_loss, "the head's model has {} files", out.size());
  return out;
}

// A file that is coming.
class Target {
 public:
  Target(const std::string& path, int64_t bytes) : path_(path), bytes_(bytes) {
    fs::create_directories(fs::path(path).parent_path());
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) fail_system();
  }
  ~Target() {
    if (fd_ >= 0) ::close(fd_);
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  // Of the piece that is there whole, else of nothing.
  Hash128 hash_of(int64_t piece, std::vector<std::byte>& buffer) const {
    const int64_t count = size_of(piece);
    buffer.resize(static_cast<size_t>(count));
    if (::pread(fd_, buffer.data(), buffer.size(), piece * kPiece) != count) return {};
    return hash_bytes(buffer);
  }
  int64_t size_of(int64_t piece) const { return std::min(kPiece, bytes_ - piece * kPiece); }
  void put(int64_t piece, std::span<const std::byte> bytes) const {
    for (int64_t at = piece * kPiece; !bytes.empty();) {
      const ssize_t count = ::pwrite(fd_, bytes.data(), bytes.size(), at);
      if (count <= 0) fail_system();
      bytes = bytes.subspan(static_cast<size_t>(count));
      at += count;
    }
  }
  void finish() const {
    if (::ftruncate(fd_, bytes_) != 0 || ::fsync(fd_) != 0) fail_system();
  }

 private:
  [[noreturn]] void fail_system() const {
    const bool is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    fail(is_full ? ErrorCode::exhausted : ErrorCode::unavailable,
         "{}: {}{}",
         path_,
         std::strerror(errno),
         is_full ? ": make room; the same command goes on" : "");
  }

  const std::string path_;
  const int64_t bytes_;
  int fd_ = -1;
};

// Held while a copy is under way; the system gives it back.
class CopyLock {
 public:
  explicit CopyLock(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0 || ::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (fd_ >= 0) ::close(fd_);
      fail(ErrorCode::unavailable, "{}: {}: another process copies it", path, std::strerror(errno));
    }
  }
  ~CopyLock() {
    ::unlink(path_.c_str());
    ::close(fd_);
  }
  CopyLock(const CopyLock&) = delete;
  CopyLock& operator=(const CopyLock&) = delete;

 private:
  const std::string path_;
  int fd_ = -1;
};

void receive_piece(const Socket& socket,
                   uint32_t number,
                   int64_t piece,
                   const Target& target,
                   std::vector<std::byte>& buffer) {
  write_as_is(socket, Ask{number, 0, static_cast<uint64_t>(piece), target.hash_of(piece, buffer)});
  const auto answer = read_as_is<Answer>(socket);
  if (answer.bytes == 0) return;
  if (answer.bytes != static_cast<uint64_t>(target.size_of(piece)))
    fail(ErrorCode::data_loss, "the head sends {} bytes as a piece", answer.bytes);
  buffer.resize(answer.bytes);
  socket.read_all(reinterpret_cast<char*>(buffer.data()), buffer.size(), deadline_us());
  if (hash_bytes(buffer) != answer.hash)
    fail(ErrorCode::unavailable, "a piece came damaged over the network");
  target.put(piece, buffer);
}

}  // namespace

void serve_model_copy(const Socket& socket,
                      const std::string& model,
                      const std::function<void()>& on_piece) {
  std::vector<File> files;
  Json listing = {{"files", Json::array()}};
  try {
    files = files_of(model);
    for (const File& file : files)
      listing["files"].push_back({{"name", file.name}, {"bytes", file.bytes}});
  } catch (const std::exception& e) {
    listing["problem"] = e.what();
  }
  const std::string text = listing.dump();
  write_as_is(socket, static_cast<uint64_t>(text.size()));
  socket.write_all(text, deadline_us());
  std::unique_ptr<MappedFile> open;
  for (uint32_t opened = kNoFile;;) {
    const auto ask = read_as_is<Ask>(socket);
    if (ask.file == kNoFile) return;
    if (ask.file >= files.size() || ask.piece >= static_cast<uint64_t>(pieces_of(files[ask.file])))
      fail(ErrorCode::data_loss, "a machine asks for piece {} of file {}", ask.piece, ask.file);
    const File& file = files[ask.file];
    if (ask.file != opened)
      open = std::make_unique<MappedFile>(file.name.empty() ? model : model + "/" + file.name);
    opened = ask.file;
    const auto begin = static_cast<size_t>(ask.piece) * kPiece;
    const auto count = std::min<size_t>(kPiece, static_cast<size_t>(file.bytes) - begin);
    if (open->size() != static_cast<size_t>(file.bytes))
      fail(ErrorCode::unavailable, "{}/{} changes while it is copied", model, file.name);
    const auto bytes = open->bytes().subspan(begin, count);
    const Hash128 hash = hash_bytes(bytes);
    const bool is_same = hash == ask.has;
    write_as_is(socket, Answer{is_same ? 0 : static_cast<uint64_t>(count), hash});
    if (!is_same)
      socket.write_all({reinterpret_cast<const char*>(bytes.data()), count}, deadline_us());
    if (on_piece) on_piece();
  }
}

void receive_model_copy(const Socket& socket,
                        const std::string& model,
                        const std::function<void(const CopyProgress&)>& progress) {
  const auto length = read_as_is<uint64_t>(socket);
  if (length > kMostListing) fail(ErrorCode::data_loss, "the head announces {} bytes", length);
  std::string text(length, '\0');
  socket.read_all(text.data(), text.size(), deadline_us());
  const std::vector<File> files = parse_files(parse_json(text, "the head's listing"));
  const std::string part = model + ".part";
  if (const fs::path folder = fs::path(model).parent_path(); !folder.empty())
    fs::create_directories(folder);
  const CopyLock lock(model + ".lock");
  CopyProgress now;
  for (const File& file : files) now.all += file.bytes;
  std::vector<std::byte> buffer;
  for (uint32_t i = 0; i < files.size(); ++i) {
    const Target target(files[i].name.empty() ? part : part + "/" + files[i].name, files[i].bytes);
    for (int64_t piece = 0; piece < pieces_of(files[i]); ++piece) {
      receive_piece(socket, i, piece, target, buffer);
      now.done += target.size_of(piece);
      if (progress) progress(now);
    }
    target.finish();
  }
  write_as_is(socket, Ask{});
  if (::rename(part.c_str(), model.c_str()) != 0)
    fail(ErrorCode::unavailable, "{}: {}", model, std::strerror(errno));
}

}  // namespace quern
