// SPDX-License-Identifier: Apache-2.0
// Resampler: samples of one rate to another, block by block, by soxr: for models whose reference
// loads sound with librosa. sinc_resampler.h is for those whose reference uses torchaudio.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace quern {

class Resampler {
 public:
  // soxr at its quality "HQ". Equal rates: samples pass as they are. Throws exhausted where it
  // cannot be set up.
  Resampler(int64_t from_hz, int64_t to_hz);
  ~Resampler();
  Resampler(const Resampler&) = delete;
  Resampler& operator=(const Resampler&) = delete;

  // Appends what `samples` make ripe to `out`.
  void add(std::span<const float> samples, std::vector<float>& out);
  // Appends the rest, and cuts or fills `out` to ceil(samples added * to / from). Called once,
  // last.
  void finish(std::vector<float>& out);

 private:
  struct Soxr;
  void run(std::span<const float> samples, bool is_last, std::vector<float>& out);

  int64_t from_hz_, to_hz_, added_ = 0;
  std::unique_ptr<Soxr> soxr_;  // null for equal rates
};

}  // namespace quern
