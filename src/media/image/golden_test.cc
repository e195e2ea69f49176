// SPDX-License-Identifier: Apache-2.0
// Every golden case of kind image_resize: target sizes and resized pixels, both exactly equal to
// the references.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "media/image/image.h"
#include "media/image/resize.h"
#include "media/image/smart_resize.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> cases() {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(QUERN_SOURCE_DIR "/tests/golden")) {
    const fs::path expected = entry.path() / "expected.json";
    if (fs::exists(expected) && read_json_file(expected).value("kind", "") == "image_resize")
      found.push_back(entry.path());
  }
  return found;
}

// The uint8 tensors of a safetensors file that this test trusts.
std::map<std::string, std::vector<uint8_t>> read_bytes_tensors(const fs::path& path) {
  const std::string file = read_file(path);
  uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), 8);
  const Json header = parse_json(std::string_view(file).substr(8, header_size), "header");
  std::map<std::string, std::vector<uint8_t>> tensors;
  for (const auto& [name, info] : header.items()) {
    if (name == "__metadata__" || info["dtype"] != "U8") continue;
    const char* data = file.data() + 8 + header_size;
    tensors[name].assign(data + info["data_offsets"][0].get<size_t>(),
                         data + info["data_offsets"][1].get<size_t>());
  }
  return tensors;
}

ImageSize size_by_rule(const Json& row) {
  const std::string rule = row["rule"];
  const ImageSize size{row["height"], row["width"]};
  const PixelRange range{row["min_pixels"], row["max_pixels"]};
  if (rule == "glm4v") return smart_resize_clip(row.value("frames", 2), size, 28, range);
  EXPECT_TRUE(rule == "qwen2_vl" || rule == "hunyuan_vl") << rule;
  return smart_resize(size, rule == "qwen2_vl" ? 28 : 32, range);
}

TEST(ImageGolden, TargetSizesEqualTheReference) {
  ASSERT_FALSE(cases().empty());
  for (const fs::path& folder : cases()) {
    for (const Json& row : read_json_file(folder / "sizes.json")) {
      if (!row.contains("error")) {
        EXPECT_EQ(size_by_rule(row), (ImageSize{row["out"][0], row["out"][1]})) << row.dump();
        continue;
      }
      try {
        size_by_rule(row);
        ADD_FAILURE() << row.dump();
      } catch (const Error& e) {
        EXPECT_NE(e.message().find(row["error"].get<std::string>().substr(0, 50)),
                  std::string::npos)
            << e.what();
      }
    }
  }
}

TEST(ImageGolden, PixelsEqualBothReferences) {
  for (const fs::path& folder : cases()) {
    const auto tensors = read_bytes_tensors(folder / "expected.safetensors");
    const Json expected = read_json_file(folder / "expected.json");
    for (const Json& row : expected["pixels"]) {
      const fs::path file = folder / row["file"].get<std::string>();
      const std::string bytes = read_file(file), name = file.stem();
      const Image image = decode_image(std::as_bytes(std::span(bytes)));
      const int64_t height = row["out_hw"][0], width = row["out_hw"][1];
      EXPECT_EQ(resize_bicubic(image, width, height).rgb, tensors.at(name + ".torchvision_bicubic"))
          << file;
      EXPECT_EQ(resize_bicubic(image, width, height, ResizeRule::pil).rgb,
                tensors.at(name + ".pil_bicubic"))
          << file;
    }
  }
}

}  // namespace
}  // namespace quern
