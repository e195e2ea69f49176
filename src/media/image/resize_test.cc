// SPDX-License-Identifier: Apache-2.0
// Values come from Pillow 13.0 and torchvision 0.29 on the same pictures.
#include "media/image/resize.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/hash.h"

namespace quern {
namespace {

// Noise from a linear congruential generator: the worst case for rounding, and easy to make
// elsewhere.
Image noise(int64_t width, int64_t height) {
  Image image{width, height, std::vector<uint8_t>(static_cast<size_t>(width * height * 3))};
  uint32_t state = 1;
  for (uint8_t& value : image.rgb)
    value = static_cast<uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  return image;
}

uint32_t checksum(const Image& image) {
  uint32_t sum = 0;
  for (uint8_t value : image.rgb) sum = sum * 31 + value;
  return sum;
}

struct Expected {
  int64_t width, height, out_width, out_height;
  uint32_t torchvision, pil;
};

class ResizeTest : public testing::TestWithParam<Expected> {};

TEST_P(ResizeTest, EqualsTheReferences) {
  const Expected& e = GetParam();
  const Image image = noise(e.width, e.height);
  EXPECT_EQ(checksum(resize_bicubic(image, e.out_width, e.out_height)), e.torchvision);
  EXPECT_EQ(checksum(resize_bicubic(image, e.out_width, e.out_height, ResizeRule::pil)), e.pil);
}

INSTANTIATE_TEST_SUITE_P(Sizes,
                         ResizeTest,
                         testing::ValuesIn(std::vector<Expected>{
                             {40, 30, 20, 15, 1049933651u, 1049933651u},
                             {30, 40, 28, 20, 3910269718u, 872355172u},
                             {17, 23, 56, 28, 4029061993u, 637266284u},
                             {64, 48, 63, 49, 2212812646u, 2138024831u},
                             {100, 9, 28, 28, 1887475172u, 3147335269u},
                             {33, 200, 28, 28, 3886065325u, 3567864296u},
                             {5, 5, 84, 84, 97905206u, 444887119u},
                             {90, 61, 12, 61, 2929265204u, 2021443633u},
                             {28, 57, 28, 11, 2779203890u, 2779203890u},
                             {1, 1, 28, 28, 255790336u, 255790336u},
                         }));

TEST(Resize, SameSizeIsTheSamePicture) {
  const Image image = noise(13, 7);
  EXPECT_EQ(resize_bicubic(image, 13, 7).rgb, image.rgb);
}

TEST(Resize, OrderOfPassesIsSelectable) {
  const Image image = noise(30, 40);  // loses many rows, few columns
  EXPECT_NE(resize_bicubic(image, 28, 20, ResizeRule::pil).rgb,
            resize_bicubic(image, 28, 20, ResizeRule::pil_horizontal_first).rgb);
  EXPECT_EQ(resize_bicubic(image, 15, 39, ResizeRule::pil).rgb,
            resize_bicubic(image, 15, 39, ResizeRule::pil_horizontal_first).rgb);
}

TEST(Resize, FlatPicturesStayFlat) {
  const Image flat{50, 40, std::vector<uint8_t>(50 * 40 * 3, 200)};
  for (uint8_t value : resize_bicubic(flat, 17, 93).rgb) ASSERT_EQ(value, 200);
}

TEST(Resize, RefusesEmptyAndHugeSizes) {
  EXPECT_THROW(resize_bicubic(noise(4, 4), 0, 4), Error);
  EXPECT_THROW(resize_bicubic(noise(4, 4), 1 << 20, 1 << 20), Error);
  EXPECT_THROW(resize_bicubic(Image{}, 4, 4), Error);
}

}  // namespace
}  // namespace quern
