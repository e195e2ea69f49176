// SPDX-License-Identifier: Apache-2.0
#include "media/decoder/decoder_loop.h"

#include <algorithm>
#include <new>
#include <vector>

#include "base/error.h"
#include "media/decoder/confinement.h"
#include "media/decoder/protocol.h"

namespace quern {
namespace {

// Beside the encoded bytes: the pixels, of a picture or of all frames, and the most that a decoder
// keeps beside them: the coefficients of a progressive JPEG (6 bytes a pixel), an animation's
// canvases (8), rows of 16-bit colours. Of a recording its samples, once more while their vector
// grows (of a short one at a file's higher rate no more).
size_t memory_for(const DecoderLimits& most) {
  constexpr size_t kBesides = size_t{256} << 20, kBytesPerPixel = 3 + 12;
  const int64_t clip = has_video_decoder() ? 3 * most.clip.max_clip_pixels : 0;
  const int64_t sound = most.max_sound_seconds * kMostSoundRate * 3 * 4;
  return 2 * most.clip.max_bytes +
         std::max(
             kBytesPerPixel * static_cast<size_t>(most.clip.max_pixels) + static_cast<size_t>(clip),
             static_cast<size_t>(sound)) +
         kBesides;
}

bool answer_error(int fd, ErrorCode code, std::string_view text) {
  text = text.substr(0, DecodeReply::kMaxText);
  const DecodeReply reply{.error = static_cast<int32_t>(code),
                          .text_bytes = static_cast<uint32_t>(text.size())};
  return write_all(fd, bytes_of(reply)) && write_all(fd, std::as_bytes(std::span(text)));
}

bool answer_clip(int fd, const Clip& clip) {
  const Image& first = clip.frames.at(0);
  const DecodeReply reply{.frames = static_cast<uint32_t>(clip.frames.size()),
                          .width = first.width,
                          .height = first.height,
                          .fps = clip.fps};
  if (!write_all(fd, bytes_of(reply))) return false;
  for (const Image& frame : clip.frames)
    if (!write_all(fd, std::as_bytes(std::span(frame.rgb)))) return false;
  return true;
}

bool answer_sound(int fd, const Sound& sound) {
  const DecodeReply reply{.samples = static_cast<int64_t>(sound.samples.size()),
                          .rate_hz = sound.rate_hz};
  return write_all(fd, bytes_of(reply)) && write_all(fd, std::as_bytes(std::span(sound.samples)));
}

// What a request becomes: a picture is a clip of one frame.
struct Decoded {
  Clip clip;
  Sound sound;
};

SoundForm form_of(const DecodeRequest& request) {
  const bool is_resampled = request.rate_hz != SoundForm::kFileRate;
  return {is_resampled ? std::clamp(request.rate_hz, kLeastFileRate, kMostSoundRate)
                       : SoundForm::kFileRate,
          request.channel};
}

Decoded decode(std::span<const std::byte> bytes,
               const DecodeRequest& request,
               const DecoderLimits& most) {
  const size_t max_bytes = most.clip.max_bytes;
  const int64_t max_pixels = std::min(most.clip.max_pixels, request.max_pixels);
  Decoded out;
  switch (request.what) {
    case DecodeKind::picture:
      out.clip.frames.push_back(decode_image(bytes, {max_bytes, max_pixels}));
      return out;
    case DecodeKind::clip:
      out.clip = decode_clip(
          bytes,
          request.rule,
          {.max_bytes = max_bytes,
           .max_pixels = max_pixels,
           .max_clip_pixels = std::min(most.clip.max_clip_pixels, request.max_clip_pixels)});
      return out;
    case DecodeKind::recording:
      out.sound =
          decode_sound(bytes,
                       form_of(request),
                       {.max_bytes = max_bytes,
                        .max_seconds = std::min(most.max_sound_seconds, request.max_seconds)});
      return out;
  }
  fail(ErrorCode::invalid_argument, "a request of no known kind");
}

bool answer(int fd,
            std::span<const std::byte> bytes,
            const DecodeRequest& request,
            const DecoderLimits& most) {
  Decoded decoded;
  try {
    decoded = decode(bytes, request, most);
  } catch (const Error& e) {
    return answer_error(fd, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    answer_error(fd,
                 ErrorCode::exhausted,
                 request.what == DecodeKind::recording
                     ? "recording: decoding it takes too much memory"
                     : "picture: decoding it takes too much memory");
    // It may be that earlier ones left too little: libraries forget some of what they refuse. The
    // next one gets a process of its own.
    return false;
  }
  return request.what == DecodeKind::recording ? answer_sound(fd, decoded.sound)
                                               : answer_clip(fd, decoded.clip);
}

}  // namespace

void serve_decoder(int fd, const DecoderLimits& most, bool must_confine) {
  DecoderHello hello;
  if (must_confine) hello.is_filtered = confine_process(memory_for(most)) ? 1 : 0;
  if (!write_all(fd, bytes_of(hello))) return;
  for (;;) {
    DecodeRequest request{.magic = 0};
    if (!read_all(fd, writable_bytes_of(request))) return;
    if (request.magic != DecodeRequest::kMagic || request.bytes > most.clip.max_bytes) return;
    std::vector<std::byte> bytes(request.bytes);
    if (!read_all(fd, bytes)) return;
    if (!answer(fd, bytes, request, most)) return;
  }
}

}  // namespace quern
