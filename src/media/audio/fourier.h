// SPDX-License-Identifier: Apache-2.0
// The spectrum of a frame, for frames that are too long for a product with cosines and sines (as
// log_mel.h takes it).
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quern {

class Fourier {
 public:
  // For frames of `size` values, 1 to 2^16. Fast where its prime factors are small.
  explicit Fourier(int64_t size);

  int64_t size() const { return static_cast<int64_t>(turns_.size()); }
  int64_t lines() const { return size() / 2 + 1; }
  // The energy of each line, [lines]: the squared length of sum over n of frame[n] e^(-2 pi i n k /
  // size). `frame` has size() values. From several threads at once.
  std::vector<double> energies(std::span<const double> frame) const;

 private:
  using Complex = std::complex<double>;
  struct Spaces {
    std::span<Complex> out, scratch;  // scratch: as many as the largest prime factor
  };
  void transform(const double* in, size_t step, const Spaces& to) const;

  std::vector<Complex> turns_;  // e^(-2 pi i k / size)
};

}  // namespace quern
