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
// canvases (8), rows of 16-bit colours.
size_t memory_for(const ClipLimits& most) {
  constexpr size_t kBesides = size_t{256} << 20, kBytesPerPixel = 3 + 12;
  const int64_t clip = has_video_decoder() ? 3 * most.max_clip_pixels : 0;
  return 2 * most.max_bytes + kBytesPerPixel * static_cast<size_t>(most.max_pixels) +
         static_cast<size_t>(clip) + kBesides;
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

bool answer(int fd,
            std::span<const std::byte> bytes,
            const DecodeRequest& request,
            const ClipLimits& limits) {
  Clip clip;
  try {
    if (request.is_clip != 0)
      clip = decode_clip(bytes, request.rule, limits);
    else
      clip.frames.push_back(decode_image(bytes, {limits.max_bytes, limits.max_pixels}));
  } catch (const Error& e) {
    return answer_error(fd, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return answer_error(fd, ErrorCode::exhausted, "picture: decoding it takes too much memory");
  }
  return answer_clip(fd, clip);
}

}  // namespace

void serve_decoder(int fd, const ClipLimits& most, bool must_confine) {
  DecoderHello hello;
  if (must_confine) hello.is_filtered = confine_process(memory_for(most)) ? 1 : 0;
  if (!write_all(fd, bytes_of(hello))) return;
  for (;;) {
    DecodeRequest request{.magic = 0};
    if (!read_all(fd, writable_bytes_of(request))) return;
    if (request.magic != DecodeRequest::kMagic || request.bytes > most.max_bytes) return;
    std::vector<std::byte> bytes(request.bytes);
    if (!read_all(fd, bytes)) return;
    const ClipLimits limits{
        .max_bytes = most.max_bytes,
        .max_pixels = std::min(most.max_pixels, request.max_pixels),
        .max_clip_pixels = std::min(most.max_clip_pixels, request.max_clip_pixels)};
    if (!answer(fd, bytes, request, limits)) return;
  }
}

}  // namespace quern
