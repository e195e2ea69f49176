// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error_of.h"
#include "base/file.h"

namespace quern {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(SafetensorsWriter, HeaderIsReadBackAsItWasMeant) {
  const std::vector<SafetensorsEntry> entries{{"b \"quoted\" é", Stored::bf16, {3, 5}},
                                              {"none", Stored::f32, {0, 4}},
                                              {"a", Stored::f8_e4m3, {7}},
                                              {"scalar", Stored::i64, {}}};
  const std::vector<std::pair<std::string, std::string>> metadata{{"format", "pt"}};
  std::string file = safetensors_header(entries, metadata);
  EXPECT_EQ(file.size() % 8, 0u);
  const size_t data = file.size();
  file.append(30 + 0 + 7 + 8, 'x');
  const SafetensorsHeader header = parse_safetensors_header(bytes_of(file), "x");
  EXPECT_THAT(header.metadata, ElementsAre(Pair("format", "pt")));
  ASSERT_EQ(header.entries.size(), entries.size());
  const size_t begins[] = {0, 30, 30, 37};
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(header.entries[i].name, entries[i].name);
    EXPECT_EQ(header.entries[i].stored, entries[i].stored);
    EXPECT_EQ(header.entries[i].shape, entries[i].shape);
    EXPECT_EQ(header.entries[i].begin, data + begins[i]);
  }
}

TEST(SafetensorsWriter, FullDiskAndMissingFolderAreToldApart) {
  EXPECT_THAT(error_of([] {
                FileWriter out("/dev/full");
                out.write(bytes_of("words"));
                out.finish();
              }),
              ::testing::AllOf(HasSubstr("exhausted"), HasSubstr("make room")));
  EXPECT_THAT(error_of([] { FileWriter out("/none/such"); }),
              ::testing::AllOf(HasSubstr("unavailable"), HasSubstr("/none/such")));
}

TEST(SafetensorsWriter, MoreThanABufferAndWholeReplacement) {
  const std::string path = ::testing::TempDir() + "quern_writer";
  const std::string text(9'000'001, 'w');
  {
    FileWriter out(path);
    out.write(bytes_of(text));
    out.write(bytes_of("end"));
    out.finish();
  }
  EXPECT_EQ(read_file(path), text + "end");
  write_file_whole(path, "new");
  EXPECT_EQ(read_file(path), "new");
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace quern
