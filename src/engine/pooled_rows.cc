// SPDX-License-Identifier: Apache-2.0
#include "engine/pooled_rows.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "sampling/candidates.h"

namespace quern {

int64_t rows_pooled(PoolingType type, int64_t tokens) {
  switch (type) {
    case PoolingType::mean:
      return tokens;
    case PoolingType::cls:
      return 1;
    case PoolingType::last:
      return 0;
  }
  return 0;
}

void PooledRows::add(std::span<const float> row) {
  if (!std::all_of(row.begin(), row.end(), [](float v) { return std::isfinite(v); }))
    throw NumericError(ErrorCode::internal,
                       "the model's hidden states are not numbers; its weights may be damaged");
  sums_.resize(row.size());
  for (size_t i = 0; i < row.size(); ++i) sums_[i] += double{row[i]};
  ++count_;
}

std::vector<float> PooledRows::mean() const {
  QUERN_CHECK(count_ > 0);
  std::vector<float> out(sums_.size());
  std::transform(sums_.begin(), sums_.end(), out.begin(), [this](double sum) {
    return static_cast<float>(sum / static_cast<double>(count_));
  });
  return out;
}

}  // namespace quern
