// SPDX-License-Identifier: Apache-2.0
// For tests: writes zip archives, sound ones and damaged ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quern {

class ZipBytes {
 public:
  ZipBytes& store(const std::string& name, const std::string& content) {
    return add({name, content, content.size(), 0, 0, checksum(content), 0});
  }
  // Deflated, by blocks that are stored as they are: the format without its compression.
  ZipBytes& deflate(const std::string& name, const std::string& content) {
    constexpr size_t kBlock = 65535;
    std::string packed;
    for (size_t at = 0; at == 0 || at < content.size(); at += kBlock) {
      const std::string block = content.substr(at, kBlock);
      packed += number(at + kBlock >= content.size(), 1) + number(block.size(), 2) +
                number(~block.size() & 0xffff, 2) + block;
    }
    return deflated(name, packed, content);
  }
  ZipBytes& deflated(const std::string& name,
                     const std::string& packed,
                     const std::string& content) {
    return add({name, packed, content.size(), 8, 0, checksum(content), 0});
  }

  struct Entry {
    std::string name, bytes;
    uint64_t size;  // unpacked
    uint16_t method, flags;
    uint32_t crc;
    uint64_t begin;  // set when the entry is added
  };
  ZipBytes& add(Entry entry) {
    entry.begin = files_.size();
    files_ += number(0x04034b50, 4) + std::string(14, '\0') + number(entry.bytes.size(), 4) +
              number(entry.size, 4) + number(entry.name.size(), 2) + number(0, 2) + entry.name +
              entry.bytes;
    entries_.push_back(entry);
    return *this;
  }
  // For damage: the entries as the directory will tell them.
  std::vector<Entry>& entries() { return entries_; }

  // With sizes and places of 64 bits where `is_wide`.
  std::string file(bool is_wide = false) const {
    std::string directory;
    for (const Entry& e : entries_) {
      const std::string wide = number(1, 2) + number(24, 2) + number(e.size, 8) +
                               number(e.bytes.size(), 8) + number(e.begin, 8);
      const auto narrow = [&](uint64_t value) { return number(is_wide ? 0xffffffff : value, 4); };
      directory += number(0x02014b50, 4) + number(0, 4) + number(e.flags, 2) + number(e.method, 2) +
                   number(0, 4) + number(e.crc, 4) + narrow(e.bytes.size()) + narrow(e.size) +
                   number(e.name.size(), 2) + number(is_wide ? wide.size() : 0, 2) +
                   number(0, 2 + 2 + 2 + 4) + narrow(e.begin) + e.name + (is_wide ? wide : "");
    }
    const std::string count = number(entries_.size(), 2);
    std::string out = files_ + directory;
    if (is_wide)
      out += number(0x06064b50, 4) + number(44, 8) + number(0, 12) + number(entries_.size(), 8) +
             number(entries_.size(), 8) + number(directory.size(), 8) + number(files_.size(), 8) +
             number(0x07064b50, 4) + number(0, 4) + number(files_.size() + directory.size(), 8) +
             number(1, 4);
    return out + number(0x06054b50, 4) + number(0, 4) + count + count +
           number(directory.size(), 4) + number(is_wide ? 0xffffffff : files_.size(), 4) +
           number(0, 2);
  }

  static std::string number(uint64_t value, size_t bytes) {
    std::string out;
    for (size_t i = 0; i < bytes; ++i)
      out += i < 8 ? static_cast<char>(value >> (8 * i) & 0xff) : '\0';
    return out;
  }

 private:
  // CRC-32, bit by bit.
  static uint32_t checksum(const std::string& text) {
    uint32_t crc = ~uint32_t{0};
    for (const char c : text) {
      crc ^= static_cast<unsigned char>(c);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0u);
    }
    return ~crc;
  }

  std::string files_;
  std::vector<Entry> entries_;
};

}  // namespace quern
