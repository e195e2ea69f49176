// SPDX-License-Identifier: Apache-2.0
// Files: read-only mappings, whole-file reads with a size limit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quern {

// A read-only memory mapping of a whole file. Movable; unmapped on destruction.
class MappedFile {
 public:
  // Throws not_found if the file cannot be opened, unavailable if it cannot be mapped. An empty
  // file maps to no bytes.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // Asks the system to begin reading [begin, end) from disk.
  void read_ahead(size_t begin, size_t end) const;
  // Takes the pages of [begin, end), and some around them, out of this process's memory. They stay
  // in the system's cache as long as there is room, and come back when they are touched: nothing
  // that points to them becomes invalid.
  void give_back(size_t begin, size_t end) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The whole file as a string. Throws not_found; invalid_argument if it is larger than max_bytes.
std::string read_file(const std::string& path, size_t max_bytes = size_t{256} << 20);

bool file_exists(const std::string& path);
bool is_directory(const std::string& path);

}  // namespace quern
