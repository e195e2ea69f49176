// SPDX-License-Identifier: Apache-2.0
// FLAC, Opus and MP3 are libsndfile's. Bytes leave as soon as they are written, so what it comes
// back for at the end (lengths and checksums in the head) is lost; decoders do without.
#include "media/audio/sound_writer.h"

#include <sndfile.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quern {
namespace {

struct FormatRow {
  std::string_view name, content_type;
  int sndfile;  // 0: written by hand
};

constexpr std::array<FormatRow, 5> kFormats = {{
    {"wav", "audio/wav", 0},
    {"flac", "audio/flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
    {"opus", "audio/ogg", SF_FORMAT_OGG | SF_FORMAT_OPUS},
    {"mp3", "audio/mpeg", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III},
    {"pcm", "audio/pcm", 0},
}};

const FormatRow& row_of(SpeechFormat format) {
  return kFormats[static_cast<size_t>(format)];
}

void put(std::string& out, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i);
}

// 44 bytes: one channel of 16 bits.
std::string wav_head(int64_t rate_hz, std::optional<int64_t> samples) {
  constexpr uint32_t kUnknown = 0xffffffff;
  const auto data = samples && *samples < (1 << 30) ? static_cast<uint32_t>(*samples * 2) : kUnknown;
  std::string out = "RIFF";
  put(out, data == kUnknown ? kUnknown : data + 36, 4);
  out += "WAVEfmt ";
  put(out, 16, 4);
  put(out, 1, 2);  // integers
  put(out, 1, 2);  // channels
  put(out, static_cast<uint32_t>(rate_hz), 4);
  put(out, static_cast<uint32_t>(rate_hz) * 2, 4);
  put(out, 2, 2);
  put(out, 16, 2);
  out += "data";
  put(out, data, 4);
  return out;
}

// What libsndfile writes, as far as it has not been fetched. It may go back over its own bytes.
struct FreshBytes {
  std::string bytes;
  sf_count_t fetched = 0, at = 0;  // of the whole file

  sf_count_t size() const { return fetched + static_cast<sf_count_t>(bytes.size()); }
  void write(std::string_view from) {
    const auto end = at + static_cast<sf_count_t>(from.size());
    if (end > size()) bytes.resize(static_cast<size_t>(end - fetched));
    const sf_count_t lost = std::clamp<sf_count_t>(fetched - at, 0, std::ssize(from));
    from.remove_prefix(static_cast<size_t>(lost));
    if (!from.empty())
      std::memcpy(bytes.data() + (at + lost - fetched), from.data(), from.size());
    at = end;
  }
  std::string fetch() {
    fetched = size();
    return std::exchange(bytes, {});
  }
};

}  // namespace

class SoundWriter::Encoder {
 public:
  Encoder(SpeechFormat format, int64_t rate_hz) {
    SF_INFO info{};
    info.samplerate = static_cast<int>(rate_hz);
    info.channels = 1;
    info.format = row_of(format).sndfile;
    SF_VIRTUAL_IO io{length, seek, read, write, tell};
    file_ = sf_format_check(&info) != 0 ? sf_open_virtual(&io, SFM_WRITE, &info, &out_) : nullptr;
    if (file_ == nullptr)
      fail(ErrorCode::unsupported,
           "{} at {} Hz: the installed {} does not write it",
           row_of(format).name,
           rate_hz,
           sf_version_string());
    sf_command(file_, SFC_SET_CLIPPING, nullptr, SF_TRUE);
    // Without a table of lengths a player reckons an MP3's from its bit rate.
    int rate = SF_BITRATE_MODE_CONSTANT;
    if (format == SpeechFormat::mp3) sf_command(file_, SFC_SET_BITRATE_MODE, &rate, sizeof(rate));
  }
  ~Encoder() {
    if (file_ != nullptr) sf_close(file_);
  }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  std::string add(std::span<const float> samples) {
    const auto count = static_cast<sf_count_t>(samples.size());
    if (sf_write_float(file_, samples.data(), count) != count)
      fail(ErrorCode::internal, "encoding sound: {}", sf_strerror(file_));
    return out_.fetch();
  }
  std::string finish() {
    sf_close(std::exchange(file_, nullptr));
    return out_.fetch();
  }

 private:
  static FreshBytes& of(void* self) { return *static_cast<FreshBytes*>(self); }
  static sf_count_t length(void* self) { return of(self).size(); }
  static sf_count_t tell(void* self) { return of(self).at; }
  static sf_count_t seek(sf_count_t offset, int whence, void* self) {
    FreshBytes& out = of(self);
    const sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? out.at : out.size();
    return out.at = std::clamp<sf_count_t>(base + offset, 0, out.size());
  }
  static sf_count_t read(void*, sf_count_t, void*) { return 0; }
  static sf_count_t write(const void* from, sf_count_t count, void* self) {
    of(self).write({static_cast<const char*>(from), static_cast<size_t>(count)});
    return count;
  }

  FreshBytes out_;
  SNDFILE* file_ = nullptr;
};

std::optional<SpeechFormat> speech_format_of(std::string_view name) {
  const auto row = std::ranges::find(kFormats, name, &FormatRow::name);
  if (row == kFormats.end()) return std::nullopt;
  return static_cast<SpeechFormat>(row - kFormats.begin());
}

std::string_view content_type_of(SpeechFormat format) {
  return row_of(format).content_type;
}

SoundWriter::SoundWriter(SpeechFormat format, int64_t rate_hz, std::optional<int64_t> samples) {
  if (row_of(format).sndfile != 0)
    encoder_ = std::make_unique<Encoder>(format, rate_hz);
  else if (format == SpeechFormat::wav)
    head_ = wav_head(rate_hz, samples);
}

SoundWriter::~SoundWriter() = default;

std::string SoundWriter::add(std::span<const float> samples) {
  return encoder_ ? encoder_->add(samples) : plain(samples);
}

std::string SoundWriter::finish() {
  return encoder_ ? encoder_->finish() : plain({});
}

std::string SoundWriter::plain(std::span<const float> samples) {
  std::string out = std::exchange(head_, {});
  for (const float sample : samples) {
    const float scaled = std::clamp(sample * 32767.0f, -32768.0f, 32767.0f);
    put(out, static_cast<uint32_t>(std::lrint(scaled)), 2);
  }
  return out;
}

}  // namespace quern
