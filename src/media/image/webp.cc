// SPDX-License-Identifier: Apache-2.0
// WebP through libwebp; of an animation the first frame, on its canvas.
#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

#include "base/error.h"
#include "media/image/codecs.h"

namespace quern {
namespace {

const uint8_t* data_of(EncodedImage bytes) {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

void decode_still(EncodedImage bytes, Image& image) {
  const int stride = static_cast<int>(image.width * 3);
  if (!WebPDecodeRGBInto(data_of(bytes), bytes.size(), image.rgb.data(), image.rgb.size(), stride))
    fail(
        ErrorCode::data_loss, "WebP picture: its {} bytes are damaged or incomplete", bytes.size());
}

void decode_first_frame(EncodedImage bytes, Image& image) {
  const WebPData data{data_of(bytes), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(
      WebPAnimDecoderNew(&data, nullptr), WebPAnimDecoderDelete);
  uint8_t* rgba = nullptr;
  int timestamp_ms = 0;
  if (!decoder || !WebPAnimDecoderGetNext(decoder.get(), &rgba, &timestamp_ms))
    fail(ErrorCode::data_loss,
         "WebP animation: its {} bytes are damaged or incomplete",
         bytes.size());
  uint8_t* rgb = image.rgb.data();
  for (int64_t i = 0; i < image.width * image.height; ++i, rgba += 4, rgb += 3)
    rgb[0] = rgba[0], rgb[1] = rgba[1], rgb[2] = rgba[2];
}

}  // namespace

Image decode_webp(EncodedImage bytes, const ImageLimits& limits) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(data_of(bytes), bytes.size(), &features) != VP8_STATUS_OK)
    fail(ErrorCode::data_loss, "WebP picture: its header is damaged or incomplete");
  Image image = new_image("WebP", features.width, features.height, limits);
  if (features.has_animation) {
    decode_first_frame(bytes, image);
  } else {
    decode_still(bytes, image);
  }
  return image;
}

}  // namespace quern
