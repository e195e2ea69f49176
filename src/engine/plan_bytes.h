// SPDX-License-Identifier: Apache-2.0
// Flat bytes for messages between processes of one machine kind: little-endian, counts before
// arrays, every read checked.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace quern {

class PlanWriter {
 public:
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename T>
  void put_array(const std::vector<T>& values) {
    static_assert(std::is_arithmetic_v<T>);
    put(static_cast<uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class PlanReader {
 public:
  PlanReader(std::string_view bytes, std::string_view what) : bytes_(bytes), what_(what) {}

  template <typename T>
  T get() {
    static_assert(std::is_arithmetic_v<T>);
    need(1, sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  // A count of items that take at least `item_bytes` each of what is left: checked before anything
  // is allocated.
  size_t get_count(size_t item_bytes) {
    const auto count = get<uint64_t>();
    need(count, item_bytes);
    return static_cast<size_t>(count);
  }
  template <typename T>
  std::vector<T> get_array() {
    std::vector<T> values(get_count(sizeof(T)));
    if (!values.empty()) std::memcpy(values.data(), bytes_.data() + at_, values.size() * sizeof(T));
    at_ += values.size() * sizeof(T);
    return values;
  }
  void expect_end() const {
    if (at_ != bytes_.size())
      fail(ErrorCode::data_loss, "{}: {} bytes too many", what_, bytes_.size() - at_);
  }

 private:
  void need(uint64_t count, size_t item_bytes) const {
    if (count > (bytes_.size() - at_) / item_bytes)
      fail(ErrorCode::data_loss,
           "{}: byte {} of {}: expected {} items of {} bytes",
           what_,
           at_,
           bytes_.size(),
           count,
           item_bytes);
  }

  std::string_view bytes_, what_;
  size_t at_ = 0;
};

}  // namespace quern
