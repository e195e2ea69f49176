// SPDX-License-Identifier: Apache-2.0
// The table of contents of a zip archive in memory: where each file of it lies. Source: PKWARE's
// APPNOTE.TXT 6.3, sections 4.3 and 4.5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct ZipEntry {
  std::string name;                  // "archive/data/0"
  std::span<const std::byte> bytes;  // as they lie in the archive
  uint64_t size = 0;                 // unpacked
  uint32_t crc = 0;                  // of the unpacked bytes
  bool is_deflated = false;          // else `bytes` are the file itself
};

// Whether the bytes begin as a zip archive with a file in it does.
bool begins_as_zip(std::span<const std::byte> file);

// Reads the directory at the end of the archive, in the form with 32 or with 64 bits. Every entry
// lies inside the file, none overlaps another, and no name comes twice: else data_loss. Encrypted
// entries, methods other than stored and deflated and archives in several parts are unsupported.
// Names are as stored, never made safe for a file system: a caller that writes files checks them.
std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> file);

// Unpacks an entry and hands it over in pieces. Throws data_loss, before more than `size` bytes
// have been handed over, where they are damaged or not as many as the directory says. The checksum
// of a deflated entry is checked; stored ones are handed over as they are.
void unpack(const ZipEntry& entry, const std::function<void(std::span<const std::byte>)>& take);

}  // namespace quern
