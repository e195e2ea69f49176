// SPDX-License-Identifier: Apache-2.0
// PNG through libpng. Gamma and colour profiles are ignored, alpha and transparent colours are
// dropped, the low byte of 16-bit colours is cut off; only 16-bit grey without alpha is different:
// the reference clips it at 255. Errors leave the library by longjmp, so every call into it stands
// in a lambda without destructors, under guarded().
#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>

#include <png.h>

#include "base/error.h"
#include "media/image/codecs.h"

namespace quern {
namespace {

struct PngFile {
  png_structp png = nullptr;
  png_infop info = nullptr;
  EncodedImage rest;
  std::jmp_buf escape;
  char message[160] = "";

  explicit PngFile(EncodedImage bytes) : rest(bytes) {}
  ~PngFile() { png_destroy_read_struct(&png, &info, nullptr); }
  PngFile(const PngFile&) = delete;
  PngFile& operator=(const PngFile&) = delete;
};

[[noreturn]] void leave(png_structp png, png_const_charp message) {
  auto& file = *static_cast<PngFile*>(png_get_error_ptr(png));
  std::strncpy(file.message, message, sizeof file.message - 1);
  std::longjmp(file.escape, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep target, size_t count) {
  auto& file = *static_cast<PngFile*>(png_get_io_ptr(png));
  if (count > file.rest.size()) png_error(png, "the file ends too early");
  std::memcpy(target, file.rest.data(), count);
  file.rest = file.rest.subspan(count);
}

// Runs `step`, which must own nothing; an error inside it is thrown here, after the jump has
// landed.
template <typename Step>
void guarded(PngFile& file, Step step) {
  if (setjmp(file.escape) == 0) {
    step();
    return;
  }
  fail(ErrorCode::data_loss, "PNG picture: {}", file.message);
}

void read_header(PngFile& file) {
  guarded(file, [&] {
    file.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &file, leave, ignore_warning);
    if (file.png) file.info = png_create_info_struct(file.png);
    if (!file.info) std::longjmp(file.escape, 1);
    png_set_read_fn(file.png, &file, read_bytes);
    png_set_user_limits(
        file.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // ours are tighter and come next
    png_set_crc_action(file.png, PNG_CRC_ERROR_QUIT, PNG_CRC_QUIET_USE);
    png_read_info(file.png, file.info);
  });
}

enum class Layout { rgb, grey, deep_grey, palette };

Layout layout_of(const PngFile& file) {
  const int type = png_get_color_type(file.png, file.info);
  if (type == PNG_COLOR_TYPE_PALETTE) return Layout::palette;
  if (type & PNG_COLOR_MASK_COLOR) return Layout::rgb;
  return type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(file.png, file.info) == 16
             ? Layout::deep_grey
             : Layout::grey;
}

// [height, row bytes]: one byte an index or grey, two a deep grey, three a colour.
std::vector<uint8_t> read_samples(PngFile& file, Layout layout, int64_t width, int64_t height) {
  const size_t row_bytes = static_cast<size_t>(width) * (layout == Layout::rgb         ? 3
                                                         : layout == Layout::deep_grey ? 2
                                                                                       : 1);
  std::vector<uint8_t> samples(row_bytes * height);
  guarded(file, [&] {
    png_set_packing(file.png);
    if (layout == Layout::grey) png_set_expand_gray_1_2_4_to_8(file.png);
    if (layout != Layout::deep_grey) png_set_strip_16(file.png);
    png_set_strip_alpha(file.png);
    const int passes = png_set_interlace_handling(file.png);
    png_read_update_info(file.png, file.info);
    if (png_get_rowbytes(file.png, file.info) != row_bytes)
      png_error(file.png, "unexpected row size");
    for (int pass = 0; pass < passes; ++pass)
      for (int64_t y = 0; y < height; ++y)
        png_read_row(file.png, samples.data() + y * row_bytes, nullptr);
  });
  return samples;
}

// Indices past the palette are black.
std::array<png_color, 256> palette_of(PngFile& file) {
  std::array<png_color, 256> palette{};
  png_colorp colours = nullptr;
  int count = 0;
  if (png_get_PLTE(file.png, file.info, &colours, &count))
    std::copy_n(colours, std::min(count, 256), palette.begin());
  return palette;
}

void spread_palette(const std::array<png_color, 256>& palette,
                    const std::vector<uint8_t>& samples,
                    uint8_t* rgb) {
  for (uint8_t index : samples) {
    const png_color& c = palette[index];
    *rgb++ = c.red, *rgb++ = c.green, *rgb++ = c.blue;
  }
}

void spread_grey(const std::vector<uint8_t>& samples, bool is_deep, uint8_t* rgb) {
  const size_t step = is_deep ? 2 : 1;
  for (size_t i = 0; i < samples.size(); i += step, rgb += 3) {
    const bool is_clipped = is_deep && samples[i] != 0;  // high byte first
    rgb[0] = rgb[1] = rgb[2] = is_clipped ? 255 : samples[i + step - 1];
  }
}

}  // namespace

Image decode_png(EncodedImage bytes, const ImageLimits& limits) {
  PngFile file(bytes);
  read_header(file);
  const int64_t width = png_get_image_width(file.png, file.info),
                height = png_get_image_height(file.png, file.info);
  check_image_size("PNG", width, height, limits);
  const Layout layout = layout_of(file);
  std::vector<uint8_t> samples = read_samples(file, layout, width, height);
  if (layout == Layout::rgb) return {width, height, std::move(samples)};
  Image image = new_image("PNG", width, height, limits);
  if (layout == Layout::palette) {
    spread_palette(palette_of(file), samples, image.rgb.data());
  } else {
    spread_grey(samples, layout == Layout::deep_grey, image.rgb.data());
  }
  return image;
}

}  // namespace quern
