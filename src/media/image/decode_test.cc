// SPDX-License-Identifier: Apache-2.0
// Each file of tests/fuzz/image decodes to what Pillow 13.0 makes of it; damage and excess end in
// the right error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/file.h"
#include "media/image/header.h"
#include "media/image/image.h"

namespace quern {
namespace {

using testing::HasSubstr;

std::string file_bytes(const std::string& name) {
  return read_file(QUERN_SOURCE_DIR "/tests/fuzz/image/" + name);
}

Image decode(const std::string& bytes, const ImageLimits& limits = {}) {
  return decode_image(std::as_bytes(std::span(bytes)), limits);
}

Error error_of(const std::string& bytes, const ImageLimits& limits = {}) {
  try {
    decode(bytes, limits);
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorCode::internal, "no error");
}

struct Expected {
  const char* file;
  int64_t width, height;
  uint32_t checksum;  // sum = sum * 31 + value over all values
};

class DecodeTest : public testing::TestWithParam<Expected> {};

TEST_P(DecodeTest, EqualsTheReference) {
  const Expected& e = GetParam();
  const Image image = decode(file_bytes(e.file));
  EXPECT_EQ(image.width, e.width);
  EXPECT_EQ(image.height, e.height);
  uint32_t sum = 0;
  for (uint8_t value : image.rgb) sum = sum * 31 + value;
  EXPECT_EQ(sum, e.checksum) << e.file;
}

INSTANTIATE_TEST_SUITE_P(
    Files,
    DecodeTest,
    testing::ValuesIn(std::vector<Expected>{
        {"alpha.webp", 20, 14, 3664067335u},      {"animated.gif", 20, 14, 3106384080u},
        {"animated.webp", 20, 14, 273719424u},    {"baseline.jpg", 20, 14, 1299316524u},
        {"cmyk.jpg", 20, 14, 1336695165u},        {"grey.gif", 20, 14, 2610248758u},
        {"grey.jpg", 20, 14, 2382708779u},        {"grey1.png", 9, 1, 3226606369u},
        {"grey16.png", 4, 2, 1328800936u},        {"grey2.png", 5, 1, 1842156043u},
        {"grey_alpha16.png", 2, 1, 532736556u},   {"index_past_palette.png", 4, 1, 1779150174u},
        {"interlaced.gif", 20, 14, 1352893633u},  {"interlaced.png", 9, 7, 4116196969u},
        {"lossless.webp", 20, 14, 273719424u},    {"lossy.webp", 20, 14, 1139718581u},
        {"offset.gif", 12, 9, 3940857370u},       {"offset_transparent.gif", 12, 9, 2539425946u},
        {"orientation.jpg", 20, 14, 1054034533u}, {"palette.gif", 20, 14, 846186374u},
        {"palette.png", 20, 14, 1332773005u},     {"progressive.jpg", 20, 14, 1299316524u},
        {"rgb.png", 20, 14, 273719424u},          {"rgb16.png", 2, 1, 31596u},
        {"rgba.png", 20, 14, 273719424u},
    }),
    [](const auto& info) {
      std::string name = info.param.file;
      for (char& c : name)
        if (c == '.') c = '_';
      return name;
    });

TEST_P(DecodeTest, TheHeaderSaysTheSameSize) {
  const std::string bytes = file_bytes(GetParam().file);
  const ImageHeader header = read_image_header(std::as_bytes(std::span(bytes)));
  EXPECT_EQ(header.width, GetParam().width);
  EXPECT_EQ(header.height, GetParam().height);
}

// What a header lets pass is for the decoder to refuse, never the other way round.
TEST_P(DecodeTest, AHeaderThatIsCutOffIsNeverReadPastItsEnd) {
  const std::string bytes = file_bytes(GetParam().file);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    try {
      read_image_header(std::as_bytes(std::span(cut)));
    } catch (const Error& e) {
      EXPECT_NE(e.code(), ErrorCode::internal);
      EXPECT_THROW(decode(cut), Error) << size;
    }
  }
}

TEST(Decode, DeepGreyIsClippedAndDeepColoursLoseTheirLowByte) {
  const Image grey = decode(file_bytes("grey16.png"));
  EXPECT_EQ(grey.rgb[3], 200);
  EXPECT_EQ(grey.rgb[9], 255);
  EXPECT_EQ(decode(file_bytes("rgb16.png")).rgb, (std::vector<uint8_t>{0, 0, 1, 1, 19, 255}));
}

TEST(Decode, HugePicturesAreRefusedByTheirHeader) {
  const std::string bytes = file_bytes("huge.png");
  EXPECT_LT(bytes.size(), size_t{40000});
  const Error e = error_of(bytes);
  EXPECT_EQ(e.code(), ErrorCode::exhausted);
  EXPECT_THAT(e.message(), HasSubstr("10000 x 10000 = 100000000 pixels, at most 67108864"));
}

TEST(Decode, LimitsHoldForEveryFormat) {
  for (const char* name :
       {"baseline.jpg", "rgb.png", "lossy.webp", "animated.webp", "palette.gif"}) {
    const std::string bytes = file_bytes(name);
    EXPECT_NO_THROW(decode(bytes, {.max_pixels = 20 * 14})) << name;
    EXPECT_EQ(error_of(bytes, {.max_pixels = 20 * 14 - 1}).code(), ErrorCode::exhausted) << name;
    EXPECT_EQ(error_of(bytes, {.max_bytes = bytes.size() - 1}).code(), ErrorCode::exhausted)
        << name;
  }
}

TEST(Decode, AScreenGrownByItsFrameIsLimitedToo) {
  EXPECT_EQ(error_of(file_bytes("offset.gif"), {.max_pixels = 12 * 9 - 1}).code(),
            ErrorCode::exhausted);
}

TEST(Decode, FilesThatEndEarlyAreDamaged) {
  for (const char* name : {"baseline.jpg",
                           "progressive.jpg",
                           "cmyk.jpg",
                           "rgb.png",
                           "interlaced.png",
                           "palette.png",
                           "lossy.webp",
                           "lossless.webp",
                           "animated.webp",
                           "palette.gif",
                           "interlaced.gif"}) {
    const std::string bytes = file_bytes(name);
    for (size_t size : {bytes.size() / 2, bytes.size() - bytes.size() / 6, size_t{24}})
      EXPECT_EQ(error_of(bytes.substr(0, size)).code(), ErrorCode::data_loss)
          << name << " cut to " << size;
  }
}

TEST(Decode, ADamagedHeaderIsSaid) {
  EXPECT_EQ(error_of(file_bytes("broken_header.png")).code(), ErrorCode::data_loss);
  std::string png = file_bytes("rgb.png");
  png[18] ^= 1;  // width; the checksum tells
  EXPECT_THAT(error_of(png).message(), HasSubstr("PNG picture: "));
}

TEST(Decode, OtherFormatsAreNamedByTheirFirstBytes) {
  const Error e = error_of("<html>not found</html>");
  EXPECT_EQ(e.code(), ErrorCode::unsupported);
  EXPECT_THAT(e.message(), HasSubstr("begin with \"<html>not found<\""));
  EXPECT_EQ(error_of("BM\x01\x02 bitmap").code(), ErrorCode::unsupported);
  EXPECT_EQ(error_of("").code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace quern
