// SPDX-License-Identifier: Apache-2.0
// ByteReader: a cursor over little-endian bytes from outside. It never reads past their end. Its
// messages do not name the file: whoever opened it adds that context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace quern {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

  // The next `count` bytes. Throws data_loss if the file ends before; `what` names them.
  std::span<const std::byte> take(uint64_t count, std::string_view what);
  // The next number of type T.
  template <typename T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  // A length of 8 bytes, then as many characters. Throws data_loss above `max`.
  std::string_view string(uint64_t max, std::string_view what);
  // A count of things that take at least `least_bytes` each: throws data_loss if the rest of the
  // file cannot hold them.
  uint64_t count(size_t least_bytes, std::string_view what);

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

}  // namespace quern
