// SPDX-License-Identifier: Apache-2.0
// Decoding is libsndfile's, of a file in memory. Its header is believed in nothing but the rate and
// the channels, and those are judged: samples are read block by block until the end comes or the
// limit.
#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "media/audio/resampler.h"
#include "media/audio/sound.h"

namespace quern {
namespace {

using Bytes = std::span<const std::byte>;

constexpr sf_count_t kBlockFrames = 4096;
// Louder than any recording, and small enough that its square stays a number.
constexpr float kLoudest = 1e9f;

// A file in memory as libsndfile reads it.
struct MemoryFile {
  Bytes bytes;
  sf_count_t at = 0;

  static MemoryFile& of(void* self) { return *static_cast<MemoryFile*>(self); }
  static sf_count_t length(void* self) { return static_cast<sf_count_t>(of(self).bytes.size()); }
  static sf_count_t tell(void* self) { return of(self).at; }
  static sf_count_t seek(sf_count_t offset, int whence, void* self) {
    MemoryFile& file = of(self);
    const sf_count_t size = length(self), base = whence == SEEK_SET   ? 0
                                                 : whence == SEEK_CUR ? file.at
                                                                      : size;
    // Offsets come from the file: the sum may be anything.
    if (offset < -base || offset > size - base) return -1;
    return file.at = base + offset;
  }
  static sf_count_t read(void* to, sf_count_t count, void* self) {
    MemoryFile& file = of(self);
    const sf_count_t taken = std::clamp<sf_count_t>(count, 0, length(self) - file.at);
    if (taken > 0) std::memcpy(to, file.bytes.data() + file.at, static_cast<size_t>(taken));
    file.at += taken;
    return taken;
  }
  static sf_count_t write(const void*, sf_count_t, void*) { return 0; }
};

struct Closer {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using OpenFile = std::unique_ptr<SNDFILE, Closer>;

bool begins_with(Bytes bytes, std::string_view text, size_t at = 0) {
  return bytes.size() >= at + text.size() &&
         std::memcmp(bytes.data() + at, text.data(), text.size()) == 0;
}

// Eleven set bits, then a version and a layer that exist.
bool is_mpeg_frame(Bytes bytes) {
  if (bytes.size() < 2 || bytes[0] != std::byte{0xff}) return false;
  const auto second = static_cast<unsigned>(bytes[1]);
  return (second & 0xe0) == 0xe0 && (second & 0x18) != 0x08 && (second & 0x06) != 0;
}

int major_format_of(SoundFormat format) {
  switch (format) {
    case SoundFormat::wav:
      return SF_FORMAT_WAV;
    case SoundFormat::flac:
      return SF_FORMAT_FLAC;
    case SoundFormat::ogg:
      return SF_FORMAT_OGG;
    case SoundFormat::mp3:
      return SF_FORMAT_MPEG;
  }
  return 0;
}

// The formats that libsndfile tells apart by more than we do (WAVEX, RF64) are WAV.
bool is_expected(int found, SoundFormat format) {
  const int major = found & SF_FORMAT_TYPEMASK;
  if (format == SoundFormat::wav && (major == SF_FORMAT_WAVEX || major == SF_FORMAT_RF64))
    return true;
  return major == major_format_of(format);
}

OpenFile open_file(MemoryFile& file, SoundFormat format, SF_INFO& info) {
  SF_VIRTUAL_IO io{
      MemoryFile::length, MemoryFile::seek, MemoryFile::read, MemoryFile::write, MemoryFile::tell};
  info = {};
  OpenFile out(sf_open_virtual(&io, SFM_READ, &info, &file));
  if (!out) fail(ErrorCode::data_loss, "{} recording: {}", name_of(format), sf_strerror(nullptr));
  if (!is_expected(info.format, format))
    fail(ErrorCode::unsupported, "{} recording: what is inside is another format", name_of(format));
  return out;
}

void check_info(SoundFormat format, const SF_INFO& info) {
  if (info.samplerate < kLeastFileRate || info.samplerate > kMostFileRate)
    fail(ErrorCode::unsupported,
         "{} recording: its header says {} Hz; {} to {} are accepted",
         name_of(format),
         info.samplerate,
         kLeastFileRate,
         kMostFileRate);
  if (info.channels < 1 || info.channels > kMostChannels)
    fail(ErrorCode::unsupported,
         "{} recording: its header says {} channels; 1 to {} are accepted",
         name_of(format),
         info.channels,
         kMostChannels);
}

// The mean of the channels of `frames` frames, or the first one, in place: the first `frames`
// values.
void mix(std::span<float> values, int64_t frames, int64_t channels, SoundChannel channel) {
  const int64_t taken = channel == SoundChannel::first ? 1 : channels;
  for (int64_t i = 0; i < frames; ++i) {
    float sum = 0;
    for (int64_t c = 0; c < taken; ++c) sum += values[static_cast<size_t>(i * channels + c)];
    values[static_cast<size_t>(i)] = sum / static_cast<float>(taken);
  }
}

void check_samples(SoundFormat format, std::span<const float> values, int64_t first_frame) {
  for (size_t i = 0; i < values.size(); ++i)
    if (!(std::abs(values[i]) <= kLoudest))
      fail(ErrorCode::data_loss,
           "{} recording: frame {} holds {}: expected numbers, full scale is 1",
           name_of(format),
           first_frame + static_cast<int64_t>(i),
           values[i]);
}

}  // namespace

std::string_view name_of(SoundFormat format) {
  switch (format) {
    case SoundFormat::wav:
      return "WAV";
    case SoundFormat::flac:
      return "FLAC";
    case SoundFormat::ogg:
      return "Ogg";
    case SoundFormat::mp3:
      return "MP3";
  }
  return "";
}

SoundFormat sound_format_of(Bytes bytes, const SoundLimits& limits) {
  if (bytes.empty()) fail(ErrorCode::invalid_argument, "recording: it is empty");
  if (bytes.size() > limits.max_bytes)
    fail(ErrorCode::exhausted,
         "recording: {} bytes, at most {} are accepted",
         bytes.size(),
         limits.max_bytes);
  const bool is_riff =
      begins_with(bytes, "RIFF") || begins_with(bytes, "RIFX") || begins_with(bytes, "RF64");
  if (is_riff && begins_with(bytes, "WAVE", 8)) return SoundFormat::wav;
  if (begins_with(bytes, "fLaC")) return SoundFormat::flac;
  if (begins_with(bytes, "OggS")) return SoundFormat::ogg;
  if (begins_with(bytes, "ID3") || is_mpeg_frame(bytes)) return SoundFormat::mp3;
  const bool is_mp4 = begins_with(bytes, "ftyp", 4);
  const bool is_matroska = begins_with(bytes, "\x1a\x45\xdf\xa3");
  fail(ErrorCode::unsupported,
       "recording: {}; expected WAV, FLAC, Ogg (Vorbis, Opus) or MP3: convert it first, say with "
       "ffmpeg -i recording -ac 1 -ar 16000 recording.flac",
       is_mp4        ? "it is an MP4 file (m4a, AAC)"
       : is_matroska ? "it is a Matroska or WebM file"
                     : "its first bytes are of no known format");
}

Sound decode_sound(Bytes bytes, const SoundForm& form, const SoundLimits& limits) {
  const bool is_resampled = form.rate_hz != SoundForm::kFileRate;
  QUERN_CHECK(!is_resampled || (form.rate_hz >= kLeastFileRate && form.rate_hz <= kMostSoundRate),
              "{} Hz",
              form.rate_hz);
  const SoundFormat format = sound_format_of(bytes, limits);
  MemoryFile memory{bytes};
  SF_INFO info;
  const OpenFile file = open_file(memory, format, info);
  check_info(format, info);
  const int64_t most_frames = limits.max_seconds * info.samplerate;
  std::vector<float> block(static_cast<size_t>(kBlockFrames * info.channels));
  Sound sound{.samples = {}, .rate_hz = is_resampled ? form.rate_hz : info.samplerate};
  Resampler resampler(info.samplerate, sound.rate_hz);
  int64_t frames = 0;
  for (;;) {
    const sf_count_t got = sf_readf_float(file.get(), block.data(), kBlockFrames);
    if (got <= 0) break;
    mix(block, got, info.channels, form.channel);
    const auto mono = std::span(block).first(static_cast<size_t>(got));
    check_samples(format, mono, frames);
    frames += got;
    if (frames > most_frames)
      fail(ErrorCode::exhausted,
           "{} recording: it is longer than {} seconds; send less of it, or parts (of chats and "
           "transcripts the limit is a server's --max-audio-seconds)",
           name_of(format),
           limits.max_seconds);
    resampler.add(mono, sound.samples);
  }
  if (sf_error(file.get()) != SF_ERR_NO_ERROR)
    fail(ErrorCode::data_loss, "{} recording: {}", name_of(format), sf_strerror(file.get()));
  if (frames == 0) fail(ErrorCode::data_loss, "{} recording: it holds no samples", name_of(format));
  resampler.finish(sound.samples);
  return sound;
}

}  // namespace quern
