// SPDX-License-Identifier: Apache-2.0
// Sound: samples of one channel; decoding with limits that hold while it runs, whatever a header
// says of lengths, rates and channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace quern {

struct Sound {
  std::vector<float> samples;  // full scale is 1; what a file of floats holds beyond it stays
  int64_t rate_hz = 0;

  double seconds() const {
    return static_cast<double>(samples.size()) / static_cast<double>(rate_hz);
  }
};

struct SoundLimits {
  size_t max_bytes = size_t{32} << 20;  // encoded
  int64_t max_seconds = 1800;           // decoded
};

// What is taken at all: rates of a file and of a result, channels of a file.
constexpr int64_t kLeastFileRate = 1000, kMostFileRate = 384'000, kMostSoundRate = 48'000;
constexpr int64_t kMostChannels = 16;

enum class SoundFormat : uint8_t { wav, flac, ogg, mp3 };

// What decode_sound makes of a file: samples at which rate, and of which channel.
enum class SoundChannel : uint8_t { mean, first };
struct SoundForm {
  static constexpr int64_t kFileRate = 0;  // as in the file: nothing is resampled

  // From a rate alone, as most models ask.
  SoundForm(int64_t rate, SoundChannel from = SoundChannel::mean) : rate_hz(rate), channel(from) {}

  int64_t rate_hz;  // 1,000 to kMostSoundRate, or kFileRate
  SoundChannel channel;
};

// By the first bytes. Throws unsupported for another format (with what it looks like),
// invalid_argument for nothing at all, exhausted over max_bytes.
SoundFormat sound_format_of(std::span<const std::byte> bytes, const SoundLimits& limits);
std::string_view name_of(SoundFormat format);

// WAV, FLAC, Ogg (Vorbis, Opus) and MP3, recognised by content: channels averaged, or the first one
// taken, then resampled to the form's rate, as the reference does it (librosa.load: soxr at "HQ",
// ceil(samples rate / file's rate) samples), unless the file's is asked for. Throws as
// sound_format_of does; unsupported for a rate or a number of channels beyond the above; exhausted
// for more seconds than max_seconds (having decoded no more than these); data_loss for damage, for
// samples that are no numbers, and where there are none. Memory: a block of frames and the result.
Sound decode_sound(std::span<const std::byte> bytes,
                   const SoundForm& form,
                   const SoundLimits& limits = {});

}  // namespace quern
