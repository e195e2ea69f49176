// SPDX-License-Identifier: Apache-2.0
#include "media/audio/resampler.h"

#include <soxr.h>

#include "base/error.h"

namespace quern {

struct Resampler::Soxr {
  explicit Soxr(soxr_t made) : handle(made) {}
  ~Soxr() { soxr_delete(handle); }
  Soxr(const Soxr&) = delete;
  Soxr& operator=(const Soxr&) = delete;

  soxr_t handle;
};

Resampler::Resampler(int64_t from_hz, int64_t to_hz) : from_hz_(from_hz), to_hz_(to_hz) {
  QUERN_CHECK(from_hz > 0 && to_hz > 0, "{} Hz to {} Hz", from_hz, to_hz);
  if (from_hz == to_hz) return;
  soxr_error_t error = nullptr;
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  soxr_t handle = soxr_create(static_cast<double>(from_hz),
                              static_cast<double>(to_hz),
                              1,
                              &error,
                              nullptr,
                              &quality,
                              nullptr);
  if (error != nullptr || handle == nullptr)
    fail(ErrorCode::exhausted,
         "recording: from {} Hz to {} Hz: {}",
         from_hz,
         to_hz,
         error != nullptr ? error : "no memory");
  soxr_ = std::make_unique<Soxr>(handle);
}

Resampler::~Resampler() = default;

void Resampler::run(std::span<const float> samples, bool is_last, std::vector<float>& out) {
  constexpr size_t kBlock = 4096;
  float block[kBlock];
  while (is_last || !samples.empty()) {
    size_t taken = 0, made = 0;
    const soxr_error_t error = soxr_process(soxr_->handle,
                                            is_last ? nullptr : samples.data(),
                                            samples.size(),
                                            &taken,
                                            block,
                                            kBlock,
                                            &made);
    if (error != nullptr) fail(ErrorCode::exhausted, "recording: resampling: {}", error);
    out.insert(out.end(), block, block + made);
    samples = samples.subspan(taken);
    if (is_last && made < kBlock) return;
    QUERN_CHECK(is_last || taken > 0 || made > 0, "the resampler stands still");
  }
}

void Resampler::add(std::span<const float> samples, std::vector<float>& out) {
  added_ += static_cast<int64_t>(samples.size());
  if (soxr_)
    run(samples, false, out);
  else
    out.insert(out.end(), samples.begin(), samples.end());
}

void Resampler::finish(std::vector<float>& out) {
  if (soxr_) run({}, true, out);
  out.resize(static_cast<size_t>((added_ * to_hz_ + from_hz_ - 1) / from_hz_));
}

}  // namespace quern
