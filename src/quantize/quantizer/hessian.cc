// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/hessian.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace quern {
namespace {

constexpr int64_t kBlock = 64;

// Upper triangular matrices [K, K] in float64, by rows.
class Upper {
 public:
  explicit Upper(int64_t size) : size_(size), values_(static_cast<size_t>(size * size), 0.0) {}
  double* row(int64_t i) { return values_.data() + i * size_; }
  int64_t size() const { return size_; }

 private:
  int64_t size_;
  std::vector<double> values_;
};

// to[begin, end) -= factor * from[begin, end)
void subtract(double* to, const double* from, double factor, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) to[j] -= factor * from[j];
}

// The rows of one block of R, in place; false at a pivot that is not positive. Row i needs what
// rows above it in the block take away.
bool factor_block(Upper& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    double* row = a.row(i);
    for (int64_t k = begin; k < i; ++k) subtract(row, a.row(k), a.row(k)[i], i, a.size());
    if (!(row[i] > 0) || !std::isfinite(row[i])) return false;
    const double root = std::sqrt(row[i]);
    for (int64_t j = i; j < a.size(); ++j) row[j] /= root;
  }
  return true;
}

// A = R' R, of its upper half, in place. Every element is changed by the rows above it in their
// order, whichever thread does it.
bool cholesky(ThreadPool& pool, Upper& a) {
  for (int64_t begin = 0; begin < a.size(); begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, a.size());
    if (!factor_block(a, begin, end)) return false;
    pool.parallel_for(a.size() - end, 8, [&](int64_t first, int64_t last, int) {
      for (int64_t i = end + first; i < end + last; ++i)
        for (int64_t k = begin; k < end; ++k)
          subtract(a.row(i), a.row(k), a.row(k)[i], i, a.size());
    });
  }
  return true;
}

// R^-1, a band of columns at a time: row i is (e_i - sum over k > i of R[i, k] row k) / R[i, i].
Upper inverse(ThreadPool& pool, Upper& r) {
  const int64_t size = r.size();
  Upper out(size);
  pool.parallel_for((size + kBlock - 1) / kBlock, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t band = first; band < last; ++band) {
      const int64_t begin = band * kBlock, end = std::min(begin + kBlock, size);
      for (int64_t i = end - 1; i >= 0; --i) {
        double* row = out.row(i);
        if (i >= begin) row[i] = 1;
        for (int64_t k = i + 1; k < end; ++k)
          subtract(row, out.row(k), r.row(i)[k], std::max(begin, k), end);
        const double pivot = r.row(i)[i];
        for (int64_t j = std::max(begin, i); j < end; ++j) row[j] /= pivot;
      }
    }
  });
  return out;
}

}  // namespace

std::optional<Tensor> inverse_factor(ThreadPool& pool, const Tensor& gram, double damping) {
  const int64_t size = gram.dim(0);
  const float* h = gram.data<float>();
  double mean = 0;
  int64_t occurring = 0;
  for (int64_t k = 0; k < size; ++k) {
    mean += h[k * size + k];
    occurring += h[k * size + k] != 0 ? 1 : 0;
  }
  mean /= static_cast<double>(std::max<int64_t>(1, occurring));
  if (!(mean > 0)) mean = 1;
  Upper a(size);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t from = size - 1 - i;
    for (int64_t j = i; j < size; ++j) a.row(i)[j] = h[from * size + size - 1 - j];
    if (a.row(i)[i] == 0) a.row(i)[i] = mean;  // never occurred
    a.row(i)[i] += damping * mean;
  }
  if (!cholesky(pool, a)) return std::nullopt;
  Upper v = inverse(pool, a);
  Tensor out = Tensor::zeros({size, size}, DType::f32);
  for (int64_t i = 0; i < size; ++i)
    for (int64_t j = i; j < size; ++j)
      out.data<float>()[i * size + j] = static_cast<float>(v.row(size - 1 - j)[size - 1 - i]);
  return out;
}

Tensor reordered(const Tensor& gram, std::span<const int32_t> order) {
  const auto size = static_cast<int64_t>(order.size());
  Tensor out = Tensor::empty({size, size}, DType::f32);
  for (int64_t i = 0; i < size; ++i) {
    const float* row = gram.data<float>() + order[static_cast<size_t>(i)] * size;
    for (int64_t j = 0; j < size; ++j)
      out.data<float>()[i * size + j] = row[order[static_cast<size_t>(j)]];
  }
  return out;
}

}  // namespace quern
