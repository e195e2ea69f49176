// SPDX-License-Identifier: Apache-2.0
// GgufMetadata: the keys and values at the head of a GGUF file. Values stay in the mapped file;
// they are checked when the file is opened and decoded when asked for, so that a large array costs
// nothing until somebody wants it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/byte_reader.h"

namespace quern {

// Numbered as in the file.
enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

std::string_view name_of(GgufType type);

struct GgufValue {
  GgufType type = GgufType::u8;
  GgufType element = GgufType::u8;  // of an array
  uint64_t count = 1;               // elements of an array
  std::span<const std::byte>
      bytes;  // of the number, the characters of the string, or the elements as stored
};

class GgufMetadata {
 public:
  // Reads one key and its value. Throws data_loss for repeated keys, unknown types, arrays nested
  // too deeply.
  void read_pair(ByteReader& reader);

  // Null if absent.
  const GgufValue* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  // Absent keys give nothing; values of another type throw data_loss naming key and type.
  std::optional<int64_t> integer(std::string_view key) const;
  // A float32 becomes the double that prints the same: 1e-05, not 9.99999974e-06.
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  // Arrays; one integer counts as an array of one. Throws data_loss for more than kMaxItems.
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<std::string_view> strings(std::string_view key) const;

  static constexpr uint64_t kMaxItems = uint64_t{1} << 24;  // a vocabulary has 10^5 to 10^6 tokens

 private:
  std::map<std::string, GgufValue, std::less<>> values_;
};

}  // namespace quern
