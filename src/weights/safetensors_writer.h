// SPDX-License-Identifier: Apache-2.0
// One safetensors file, written front to back in bounded memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "weights/safetensors.h"

namespace quern {

// A file written front to back through one buffer. Throws exhausted naming the file where the disk
// or a limit is full, unavailable for any other failure.
class FileWriter {
 public:
  explicit FileWriter(const std::string& path);  // created or emptied
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte> bytes);
  // Flushes down to the disk; nothing may be written afterwards.
  void finish();

 private:
  void flush();

  std::string path_;
  int fd_ = -1;
  std::vector<std::byte> buffer_;
};

// Writes `text` whole: to a file beside `path` that then takes its name.
void write_file_whole(const std::string& path, std::string_view text);

// The first bytes of a file: length and JSON header of `entries` in their order (begin and end are
// ignored), padded to 8 bytes.
std::string safetensors_header(std::span<const SafetensorsEntry> entries,
                               std::span<const std::pair<std::string, std::string>> metadata);

}  // namespace quern
