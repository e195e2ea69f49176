// SPDX-License-Identifier: Apache-2.0
#include "tensor/shape.h"

#include <algorithm>

#include "base/error.h"

namespace quern {

Shape::Shape(std::span<const int64_t> dims) {
  if (dims.size() > kMaxRank)
    fail(ErrorCode::invalid_argument,
         "a shape of {} dimensions, the limit is {}",
         dims.size(),
         kMaxRank);
  for (const int64_t d : dims) {
    if (d < 0) fail(ErrorCode::invalid_argument, "a shape with the negative dimension {}", d);
    dims_[static_cast<size_t>(rank_++)] = d;
  }
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (const int64_t d : dims()) n *= d;
  return n;
}

std::string Shape::text() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) out += format("{}{}", i == 0 ? "" : ", ", (*this)[i]);
  return out + "]";
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(dims(), other.dims());
}

}  // namespace quern
