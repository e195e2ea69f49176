// SPDX-License-Identifier: Apache-2.0
// The writing side of one model's folder in the Hugging Face cache. Whatever moment a process dies
// at, files under their names are whole: what is not ends in ".incomplete".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hub/listing.h"

namespace quern {

// A lock of a file, by which processes keep out of each other's way; gone with its process.
class FileLock {
 public:
  // Throws unavailable if another process holds it (naming `what`), or it cannot be made.
  FileLock(const std::string& path, std::string_view what);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;

 private:
  int descriptor_;
};

class BlobStore {
 public:
  BlobStore(std::string cache, const std::string& repository);

  const std::string& folder() const { return folder_; }
  std::string snapshot(const std::string& commit) const { return folder_ + "/snapshots/" + commit; }
  std::string blob(const RepoFile& file) const { return folder_ + "/blobs/" + file.hash; }
  std::string incomplete(const RepoFile& file) const { return blob(file) + ".incomplete"; }
  bool has(const RepoFile& file) const;
  // What was fetched of it earlier; 0 if nothing, or more than it has.
  int64_t resumable_bytes(const RepoFile& file) const;

  // Makes the folders. Throws unavailable if the disk does not let one.
  void prepare() const;
  // The whole model's lock, of `quern pull` and `quern rm`.
  FileLock lock() const;
  // One blob's, by the name that the hub's own client locks it by.
  FileLock lock(const RepoFile& file) const;
  // Gives a blob its name in a snapshot: a relative link.
  void link(const std::string& commit, const RepoFile& file) const;
  void set_ref(const std::string& revision, const std::string& commit) const;
  // Throws exhausted, with the numbers, if `bytes` more do not fit on the disk.
  void require_space(int64_t bytes) const;

 private:
  std::string cache_, name_, folder_;
};

// A blob on its way to the disk. Bytes are appended; finish() gives the file its name.
class BlobWriter {
 public:
  // Continues what is there. Throws unavailable, exhausted.
  BlobWriter(const BlobStore& store, const RepoFile& file);
  ~BlobWriter();
  BlobWriter(const BlobWriter&) = delete;
  BlobWriter& operator=(const BlobWriter&) = delete;

  int64_t written_bytes() const { return written_bytes_; }
  void append(std::span<const std::byte> bytes);
  void restart();  // empties the file
  // Waits for the disk, then renames; the file must be whole.
  void finish();

 private:
  std::string incomplete_, blob_;
  int descriptor_ = -1;
  int64_t written_bytes_ = 0;
};

}  // namespace quern
