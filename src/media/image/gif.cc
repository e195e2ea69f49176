// SPDX-License-Identifier: Apache-2.0
// GIF through giflib's record interface: the first frame on its screen. Where the frame does not
// reach, the screen shows the transparent colour, or else colour 0.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include <gif_lib.h>

#include "base/error.h"
#include "media/image/codecs.h"

namespace quern {
namespace {

struct CloseGif {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using GifFile = std::unique_ptr<GifFileType, CloseGif>;

int read_bytes(GifFileType* gif, GifByteType* target, int count) {
  auto& rest = *static_cast<EncodedImage*>(gif->UserData);
  const size_t taken = std::min(rest.size(), static_cast<size_t>(std::max(count, 0)));
  if (taken > 0) std::memcpy(target, rest.data(), taken);
  rest = rest.subspan(taken);
  return static_cast<int>(taken);
}

[[noreturn]] void damaged(int error) {
  const char* reason = GifErrorString(error);
  fail(ErrorCode::data_loss, "GIF picture: {}", reason ? reason : "damaged");
}

void check(const GifFile& gif, int status) {
  if (status != GIF_OK) damaged(gif->Error);
}

// Reads an extension; a graphics control block says which colour is transparent.
void read_extension(const GifFile& gif, int& transparent) {
  int code = 0;
  GifByteType* block = nullptr;
  check(gif, DGifGetExtension(gif.get(), &code, &block));
  GraphicsControlBlock control;
  if (code == GRAPHICS_EXT_FUNC_CODE && block &&
      DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
    transparent = control.TransparentColor;
  while (block) check(gif, DGifGetExtensionNext(gif.get(), &block));
}

// Goes to the first frame; returns its transparent colour or NO_TRANSPARENT_COLOR.
int seek_first_frame(const GifFile& gif) {
  int transparent = NO_TRANSPARENT_COLOR;
  for (;;) {
    GifRecordType record;
    check(gif, DGifGetRecordType(gif.get(), &record));
    if (record == EXTENSION_RECORD_TYPE) {
      read_extension(gif, transparent);
    } else if (record == IMAGE_DESC_RECORD_TYPE) {
      check(gif, DGifGetImageDesc(gif.get()));
      return transparent;
    } else {
      fail(ErrorCode::data_loss, "GIF picture: it has no frame");
    }
  }
}

using Palette = std::array<GifColorType, 256>;

// Without a colour table, or with one that is just the greys in order, an index is a grey; else
// indices past it are black.
Palette palette_of(const ColorMapObject* map) {
  Palette greys, colours{};
  for (int i = 0; i < 256; ++i) {
    const auto grey = static_cast<GifByteType>(i);
    greys[i] = {grey, grey, grey};
  }
  if (!map) return greys;
  bool is_grey_ramp = true;
  for (int i = 0; i < std::min(map->ColorCount, 256); ++i) {
    const GifColorType& c = colours[i] = map->Colors[i];
    is_grey_ramp &= c.Red == i && c.Green == i && c.Blue == i;
  }
  return is_grey_ramp ? greys : colours;
}

// The lines of an interlaced frame come in four passes; calls visit(y) in the order of the file.
template <typename Visit>
void for_each_line(int64_t height, bool is_interlaced, Visit visit) {
  if (!is_interlaced) {
    for (int64_t y = 0; y < height; ++y) visit(y);
    return;
  }
  constexpr int kStart[] = {0, 4, 2, 1}, kStep[] = {8, 8, 4, 2};
  for (int pass = 0; pass < 4; ++pass)
    for (int64_t y = kStart[pass]; y < height; y += kStep[pass]) visit(y);
}

void put(const Palette& palette, std::span<const uint8_t> indices, uint8_t* rgb) {
  for (uint8_t index : indices) {
    const GifColorType& c = palette[index];
    *rgb++ = c.Red, *rgb++ = c.Green, *rgb++ = c.Blue;
  }
}

}  // namespace

Image decode_gif(EncodedImage bytes, const ImageLimits& limits) {
  int error = 0;
  const GifFile gif(DGifOpen(&bytes, read_bytes, &error));
  if (!gif) damaged(error);
  check_image_size("GIF", std::max(gif->SWidth, 1), std::max(gif->SHeight, 1), limits);
  const int transparent = seek_first_frame(gif);
  const GifImageDesc& frame = gif->Image;
  check_image_size("GIF", frame.Width, frame.Height, limits);
  Image image = new_image("GIF",
                          std::max<int64_t>(gif->SWidth, int64_t{frame.Left} + frame.Width),
                          std::max<int64_t>(gif->SHeight, int64_t{frame.Top} + frame.Height),
                          limits);
  const Palette palette = palette_of(frame.ColorMap ? frame.ColorMap : gif->SColorMap);
  const uint8_t outside =
      transparent == NO_TRANSPARENT_COLOR ? 0 : static_cast<uint8_t>(transparent);
  const std::vector<uint8_t> background(static_cast<size_t>(image.width), outside);
  for (int64_t y = 0; y < image.height; ++y)
    put(palette, background, image.rgb.data() + y * image.width * 3);
  std::vector<uint8_t> line(static_cast<size_t>(frame.Width));
  for_each_line(frame.Height, frame.Interlace, [&](int64_t y) {
    check(gif, DGifGetLine(gif.get(), line.data(), frame.Width));
    put(palette, line, image.rgb.data() + ((frame.Top + y) * image.width + frame.Left) * 3);
  });
  return image;
}

}  // namespace quern
