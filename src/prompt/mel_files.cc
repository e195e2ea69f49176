// SPDX-License-Identifier: Apache-2.0
#include "prompt/mel_files.h"

#include "base/error.h"
#include "media/audio/sound.h"

namespace quern {

MelShape read_mel_shape(const Config& features, int64_t bands, int64_t frames) {
  MelShape shape;
  shape.rate_hz = features.integer_or("sampling_rate", 16'000, 1000, kMostSoundRate);
  shape.fft = features.integer_or("n_fft", 400, 16, 4096);
  shape.hop = features.integer_or("hop_length", 160, 16, shape.fft);
  shape.bands = features.integer_or("feature_size", bands, 1, 512);
  shape.window = shape.rate_hz * features.integer_or("chunk_length", 30, 1, 60);
  if (shape.bands != bands)
    fail(ErrorCode::data_loss,
         "{}: feature_size {}: config.json says num_mel_bins {}",
         features.path(),
         shape.bands,
         bands);
  if (shape.window % shape.hop != 0 || shape.frames() % frames != 0)
    fail(ErrorCode::data_loss,
         "{}: windows of {} samples with a frame each {}: expected a multiple of {} frames",
         features.path(),
         shape.window,
         shape.hop,
         frames);
  if (features.number_or("dither", 0) != 0 || features.number_or("padding_value", 0) != 0 ||
      features.boolean_or("do_normalize", false))
    fail(ErrorCode::unsupported,
         "{}: dither, padding_value and do_normalize: only 0, 0 and false are supported",
         features.path());
  return shape;
}

}  // namespace quern
