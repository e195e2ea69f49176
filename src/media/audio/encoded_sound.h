// SPDX-License-Identifier: Apache-2.0
// For tests: recordings of every format, made by libsndfile, and WAV files whose headers say what
// one likes.
#pragma once

#include <sndfile.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <string>
#include <vector>

namespace quern {

// A tone of 440 Hz, half of full scale, the channels one behind the other in each frame.
inline std::vector<float> tone(int64_t rate_hz, double seconds, int64_t channels = 1) {
  std::vector<float> out;
  const auto frames = static_cast<int64_t>(seconds * static_cast<double>(rate_hz));
  for (int64_t i = 0; i < frames; ++i)
    for (int64_t c = 0; c < channels; ++c)
      out.push_back(
          static_cast<float>(0.5 * std::sin(2 * std::numbers::pi * 440 * static_cast<double>(i) /
                                            static_cast<double>(rate_hz))));
  return out;
}

// A file of `format` (SF_FORMAT_WAV | SF_FORMAT_PCM_16); empty where libsndfile cannot write it.
inline std::string encoded(const std::vector<float>& samples,
                           int64_t rate_hz,
                           int64_t channels,
                           int format) {
  struct Memory {
    std::string bytes;
    sf_count_t at = 0;
  } memory;
  static const auto memory_of = [](void* self) -> Memory& { return *static_cast<Memory*>(self); };
  SF_VIRTUAL_IO io{[](void* self) { return static_cast<sf_count_t>(memory_of(self).bytes.size()); },
                   [](sf_count_t offset, int whence, void* self) {
                     Memory& m = memory_of(self);
                     const auto size = static_cast<sf_count_t>(m.bytes.size());
                     m.at = offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? m.at : size);
                     return m.at;
                   },
                   [](void* to, sf_count_t count, void* self) {
                     Memory& m = memory_of(self);
                     const sf_count_t taken =
                         std::min(count, static_cast<sf_count_t>(m.bytes.size()) - m.at);
                     std::memcpy(to, m.bytes.data() + m.at, static_cast<size_t>(taken));
                     m.at += taken;
                     return taken;
                   },
                   [](const void* from, sf_count_t count, void* self) {
                     Memory& m = memory_of(self);
                     const auto end = static_cast<size_t>(m.at + count);
                     if (m.bytes.size() < end) m.bytes.resize(end);
                     std::memcpy(m.bytes.data() + m.at, from, static_cast<size_t>(count));
                     m.at += count;
                     return count;
                   },
                   [](void* self) { return memory_of(self).at; }};
  SF_INFO info{};
  info.samplerate = static_cast<int>(rate_hz);
  info.channels = static_cast<int>(channels);
  info.format = format;
  SNDFILE* file = sf_open_virtual(&io, SFM_WRITE, &info, &memory);
  if (file == nullptr) return "";
  sf_writef_float(file, samples.data(), static_cast<sf_count_t>(samples.size()) / channels);
  sf_close(file);
  return memory.bytes;
}

// What the header of a WAV file of 16-bit integers, or of 32-bit floats, claims.
struct WavHeader {
  uint32_t rate_hz = 16'000;
  uint16_t channels = 1;
  uint16_t bits = 16;       // 32: floats
  uint32_t data_bytes = 0;  // 0: as many as there are
  uint32_t riff_bytes = 0;  // 0: likewise
};

inline std::string wav(const WavHeader& h, const std::string& data) {
  std::string out;
  const auto put = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i);
  };
  const uint32_t data_bytes = h.data_bytes > 0 ? h.data_bytes : static_cast<uint32_t>(data.size());
  out += "RIFF";
  put(h.riff_bytes > 0 ? h.riff_bytes : 36 + data_bytes, 4);
  out += "WAVEfmt ";
  put(16, 4);
  put(h.bits == 32 ? 3 : 1, 2);
  put(h.channels, 2);
  put(h.rate_hz, 4);
  put(h.rate_hz * h.channels * h.bits / 8, 4);
  put(static_cast<uint32_t>(h.channels * h.bits / 8), 2);
  put(h.bits, 2);
  out += "data";
  put(data_bytes, 4);
  return out + data;
}

}  // namespace quern
