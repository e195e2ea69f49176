// SPDX-License-Identifier: Apache-2.0
// A list of at most kMaxRank dimensions, by value.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace quern {

class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  // Throws invalid_argument for more than kMaxRank dimensions or a negative one.
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int axis) const {
    return dims_[static_cast<size_t>(axis < 0 ? axis + rank_ : axis)];
  }
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  int64_t numel() const;     // 1 for rank 0
  std::string text() const;  // "[2, 3]"
  bool operator==(const Shape& other) const;
  void set(int axis, int64_t size) {
    dims_[static_cast<size_t>(axis < 0 ? axis + rank_ : axis)] = size;
  }

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace quern
