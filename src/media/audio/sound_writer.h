// SPDX-License-Identifier: Apache-2.0
// SoundWriter: samples of one channel into a file's bytes, piece by piece as they are made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace quern {

enum class SpeechFormat : uint8_t { wav, flac, opus, mp3, pcm };

// "wav", "flac", "opus" (in Ogg), "mp3", "pcm"; nothing for another name.
std::optional<SpeechFormat> speech_format_of(std::string_view name);
// "audio/wav"
std::string_view content_type_of(SpeechFormat format);

// WAV and PCM have 16 bits, little-endian, as FLAC has; samples beyond full scale are cut to it.
class SoundWriter {
 public:
  // `samples`: how many will come, if that is known: a WAV header that is sent before its samples
  // otherwise states the largest size, as streamed files do. Throws unsupported for a rate that the
  // format or the installed libsndfile does not take.
  SoundWriter(SpeechFormat format, int64_t rate_hz, std::optional<int64_t> samples = {});
  ~SoundWriter();
  SoundWriter(const SoundWriter&) = delete;
  SoundWriter& operator=(const SoundWriter&) = delete;

  // The bytes that are ripe; often none.
  std::string add(std::span<const float> samples);
  // The rest. Called once, last.
  std::string finish();

 private:
  class Encoder;
  std::string plain(std::span<const float> samples);

  std::string head_;                  // of a WAV file, until it is given out
  std::unique_ptr<Encoder> encoder_;  // null: samples are written as they are
};

}  // namespace quern
