// SPDX-License-Identifier: Apache-2.0
// PooledRows: the rows of one prompt on their way to a vector.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/pooling.h"

namespace quern {

// Leading rows of a prompt of `tokens` that are taken one by one; 0: the last one alone, which is
// computed in any case, so that what the prefix cache has of the others is used.
int64_t rows_pooled(PoolingType type, int64_t tokens);

class PooledRows {
 public:
  // Summed in float64 in the order of the calls, whatever steps they came in. Throws NumericError
  // for a row that is not a number.
  void add(std::span<const float> row);
  // Of one row: the row itself.
  std::vector<float> mean() const;

 private:
  std::vector<double> sums_;
  int64_t count_ = 0;
};

}  // namespace quern
