// SPDX-License-Identifier: Apache-2.0
// What a server and a process that decodes for it say to each other over a stream socket: first the
// child's DecoderHello; then, again and again, a DecodeRequest with the encoded bytes behind it,
// and a DecodeReply with the text of an error, the pixels or the samples behind it. Both are one
// program on one machine: numbers as they lie in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "media/audio/sound.h"
#include "media/video/clip_frames.h"

namespace quern {

struct DecoderHello {
  static constexpr uint32_t kMagic = 0x71644831;
  uint32_t magic = kMagic;
  uint32_t is_filtered = 0;  // whether the kernel refuses it all system calls but a few
};

enum class DecodeKind : uint32_t { picture, clip, recording };

struct DecodeRequest {
  static constexpr uint32_t kMagic = 0x71645131;
  uint32_t magic = kMagic;
  DecodeKind what = DecodeKind::picture;
  uint64_t bytes = 0;           // that follow
  int64_t max_pixels = 0;       // of ImageLimits or ClipLimits
  int64_t max_clip_pixels = 0;  // of ClipLimits
  FrameRule rule = {};          // of a clip
  int64_t rate_hz = 0;          // of SoundForm, as is the channel
  SoundChannel channel = SoundChannel::mean;
  int64_t max_seconds = 0;  // of SoundLimits
};

struct DecodeReply {
  static constexpr uint32_t kMagic = 0x71645231;
  static constexpr uint32_t kMaxText = 1024;
  uint32_t magic = kMagic;
  int32_t error = -1;       // an ErrorCode; -1: none
  uint32_t text_bytes = 0;  // of the error's message, that follow
  uint32_t frames = 1;
  int64_t width = 0, height = 0;  // frames * width * height * 3 bytes follow
  double fps = 0;                 // of a clip's frames
  int64_t samples = 0;            // of a recording: as many floats follow
  int64_t rate_hz = 0;            // of these
};

enum class Transfer : uint8_t { done, closed, late };

// All of `bytes` through a connected socket, until the time of MonotonicClock. Never SIGPIPE.
Transfer send_all(int fd, std::span<const std::byte> bytes, int64_t deadline_us);
Transfer receive_all(int fd, std::span<std::byte> bytes, int64_t deadline_us);
// Whether there is something to read, be it the end.
bool has_input(int fd);

// The same without a clock and with no other calls than read and write: what a confined child may
// do. False at the end.
bool write_all(int fd, std::span<const std::byte> bytes);
bool read_all(int fd, std::span<std::byte> bytes);

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}
template <typename T>
std::span<std::byte> writable_bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

}  // namespace quern
