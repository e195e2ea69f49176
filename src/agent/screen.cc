// SPDX-License-Identifier: Apache-2.0
#include "agent/screen.h"

#include <algorithm>
#include <span>

#include "media/image/image.h"

namespace quern::agent {
namespace {

constexpr std::string_view kPngBegin = "\x89PNG", kPngEnd = "IEND\xae\x42\x60\x82";

bool is_whole(const std::string& png) {
  return png.starts_with(kPngBegin) && png.ends_with(kPngEnd);
}

// The status bar and the keys below are drawn over protected pages too: a twentieth of the height
// at each end is not looked at. Elsewhere fewer than two pixels of a thousand may be seen.
bool is_black(const Image& image) {
  constexpr uint8_t kDark = 10;
  const int64_t row_bytes = image.width * 3, edge = image.height / 20;
  int64_t lit = 0, all = 0;
  for (int64_t y = edge; y < image.height - edge; ++y) {
    const uint8_t* row = image.rgb.data() + y * row_bytes;
    for (int64_t x = 0; x < row_bytes; x += 3)
      lit += std::max({row[x], row[x + 1], row[x + 2]}) > kDark;
    all += image.width;
  }
  return lit * 500 < all;
}

}  // namespace

Screen screen_of(std::string png) {
  const Image image = decode_image(std::as_bytes(std::span(png)));
  return {.png = std::move(png),
          .width = image.width,
          .height = image.height,
          .is_black = is_black(image),
          .why_missing = {}};
}

Screen capture_screen(Adb& adb) {
  constexpr int kTries = 3;
  std::string bytes;
  for (int i = 0; i < kTries; ++i) {
    bytes = adb.ask_bytes({"screencap", "-p"});
    if (is_whole(bytes)) return screen_of(std::move(bytes));
    if (bytes.starts_with(kPngBegin)) continue;
    if (bytes.empty()) {  // a broken link, or a page that gives nothing: the phone tells which
      adb.ask({"true"});
      continue;
    }
    // What it says instead: "Failed to take screenshot. Status: -1".
    CommandResult said;
    said.out = bytes;
    return {.png = {}, .width = 0, .height = 0, .is_black = true, .why_missing = told_by(said)};
  }
  if (bytes.empty())
    return {.png = {}, .width = 0, .height = 0, .is_black = true, .why_missing = "no picture"};
  throw DeviceLost(format("{}: pictures of the screen end early", adb.serial()));
}

}  // namespace quern::agent
