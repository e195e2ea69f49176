// SPDX-License-Identifier: Apache-2.0
// Cooley, Tukey 1965, for any size: with the least prime factor p of n = p m, the spectra of the p
// sequences x[r], x[r + p], … (r < p) give that of x:
//
//   X[k + q m] = sum over r of e^(-2 pi i r (k + q m) / n) X_r[k],   k < m, q < p
#include "media/audio/fourier.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace quern {
namespace {

constexpr int64_t kMostSize = int64_t{1} << 16;

size_t least_factor(size_t n) {
  for (size_t p = 2; p * p <= n; ++p)
    if (n % p == 0) return p;
  return n;
}

// Of finite numbers: operator* of std::complex asks after others each time.
std::complex<double> product(std::complex<double> a, std::complex<double> b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

}  // namespace

Fourier::Fourier(int64_t size) {
  QUERN_CHECK(size >= 1 && size <= kMostSize, "{}", size);
  for (int64_t k = 0; k < size; ++k)
    turns_.push_back(std::polar(
        1.0, -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(size)));
}

void Fourier::transform(const double* in, size_t step, const Spaces& to) const {
  const std::span<Complex> out = to.out, parts = to.scratch;
  const size_t n = out.size(), p = least_factor(n), m = n / p;
  if (n == 1) {
    out[0] = *in;
    return;
  }
  for (size_t r = 0; r < p; ++r) transform(in + r * step, step * p, {out.subspan(r * m, m), parts});
  const size_t stride = turns_.size() / n;  // of this transform's turns among those of the whole
  for (size_t k = 0; k < m; ++k) {
    for (size_t r = 0; r < p; ++r) parts[r] = out[r * m + k];
    for (size_t q = 0; q < p; ++q) {
      Complex sum = parts[0];
      for (size_t r = 1; r < p; ++r) sum += product(parts[r], turns_[r * (k + q * m) % n * stride]);
      out[q * m + k] = sum;
    }
  }
}

std::vector<double> Fourier::energies(std::span<const double> frame) const {
  QUERN_CHECK(frame.size() == turns_.size(), "{} values, not {}", frame.size(), turns_.size());
  std::vector<Complex> spectrum(frame.size()), scratch(frame.size());
  transform(frame.data(), 1, {spectrum, scratch});
  std::vector<double> out;
  for (size_t k = 0; k < static_cast<size_t>(lines()); ++k) out.push_back(std::norm(spectrum[k]));
  return out;
}

}  // namespace quern
