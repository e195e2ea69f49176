// SPDX-License-Identifier: Apache-2.0
// JPEG through libjpeg-turbo: accurate integer DCT and smooth chroma upsampling, as the reference
// sets it. Errors leave the library by longjmp, so every call into it stands in a lambda without
// destructors, under guarded().
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>
// jpeglib.h must come first.
#include <jerror.h>

#include "base/error.h"
#include "media/image/codecs.h"

namespace quern {
namespace {

// Real progressive files have about ten scans; each costs time without needing bytes.
constexpr int kMaxScans = 100;

struct JpegFile {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX] = "";
  bool is_unsupported = false;

  JpegFile();
  ~JpegFile() { jpeg_destroy_decompress(&info); }
  JpegFile(const JpegFile&) = delete;
  JpegFile& operator=(const JpegFile&) = delete;
};

[[noreturn]] void leave(j_common_ptr info) {
  auto& file = *static_cast<JpegFile*>(info->client_data);
  const int code = info->err->msg_code;
  file.is_unsupported = code == JERR_BAD_PRECISION || code == JERR_SOF_UNSUPPORTED ||
                        code == JERR_ARITH_NOTIMPL || code == JERR_CONVERSION_NOTIMPL;
  info->err->format_message(info, file.message);
  std::longjmp(file.escape, 1);
}

// Warnings are accepted, as the reference accepts them, but for one: bytes end before the picture
// does.
void on_message(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) leave(info);
}

void check_scans(j_common_ptr info) {
  if (!info->is_decompressor ||
      reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMaxScans)
    return;
  auto& file = *static_cast<JpegFile*>(info->client_data);
  std::snprintf(file.message, sizeof file.message, "more than %d scans", kMaxScans);
  std::longjmp(file.escape, 1);
}

// jpeg_create_decompress clears client_data only if it was not set: it is kept.
JpegFile::JpegFile() {
  info.err = jpeg_std_error(&errors);
  errors.error_exit = leave;
  errors.emit_message = on_message;
  info.client_data = this;
}

// Runs `step`, which must own nothing; an error inside it is thrown here, after the jump has
// landed.
template <typename Step>
void guarded(JpegFile& file, Step step) {
  if (setjmp(file.escape) == 0) {
    step();
    return;
  }
  fail(file.is_unsupported ? ErrorCode::unsupported : ErrorCode::data_loss,
       "JPEG picture: {}",
       file.message);
}

// Four-component files store inverted ink (Adobe's convention): x = 255 - ink. r = (255 - k) * (255
// - c) / 255, rounded as the reference does: the product of c and (255 - k) is what it rounds.
void ink_to_rgb(const uint8_t* inverted, int64_t count, uint8_t* rgb) {
  for (int64_t i = 0; i < count; ++i, inverted += 4, rgb += 3) {
    const int light = inverted[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - inverted[c]) * light + 128;
      const int absorbed = ((product >> 8) + product) >> 8;
      rgb[c] = static_cast<uint8_t>(light > absorbed ? light - absorbed : 0);
    }
  }
}

void grey_to_rgb(const uint8_t* grey, int64_t count, uint8_t* rgb) {
  for (int64_t i = 0; i < count; ++i, rgb += 3) rgb[0] = rgb[1] = rgb[2] = grey[i];
}

void read_header(JpegFile& file, EncodedImage bytes) {
  guarded(file, [&] {
    jpeg_create_decompress(&file.info);
    file.progress.progress_monitor = check_scans;
    file.info.progress = &file.progress;
    jpeg_mem_src(&file.info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_read_header(&file.info, TRUE);
  });
}

J_COLOR_SPACE colours_of(int components) {
  switch (components) {
    case 1:
      return JCS_GRAYSCALE;
    case 3:
      return JCS_RGB;
    case 4:
      return JCS_CMYK;
    default:
      fail(ErrorCode::unsupported,
           "JPEG picture: {} colour components; expected 1, 3 or 4",
           components);
  }
}

void read_lines(JpegFile& file, Image& image) {
  const int components = file.info.num_components;
  std::vector<uint8_t> line(components == 3 ? 0 : static_cast<size_t>(image.width) * components);
  guarded(file, [&] {
    jpeg_start_decompress(&file.info);
    while (file.info.output_scanline < file.info.output_height) {
      uint8_t* rgb =
          image.rgb.data() + static_cast<size_t>(file.info.output_scanline) * image.width * 3;
      JSAMPROW target = components == 3 ? rgb : line.data();
      jpeg_read_scanlines(&file.info, &target, 1);
      if (components == 1) grey_to_rgb(line.data(), image.width, rgb);
      if (components == 4) ink_to_rgb(line.data(), image.width, rgb);
    }
    jpeg_finish_decompress(&file.info);
  });
}

}  // namespace

Image decode_jpeg(EncodedImage bytes, const ImageLimits& limits) {
  JpegFile file;
  read_header(file, bytes);
  check_image_size("JPEG", file.info.image_width, file.info.image_height, limits);
  file.info.out_color_space = colours_of(file.info.num_components);
  Image image = new_image("JPEG", file.info.image_width, file.info.image_height, limits);
  read_lines(file, image);
  return image;
}

}  // namespace quern
