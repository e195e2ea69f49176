// SPDX-License-Identifier: Apache-2.0
#include "weights/zip_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "base/error_of.h"
#include "weights/zip_bytes.h"

namespace quern {
namespace {

using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string packed(const std::string& text) {
  std::string out(compressBound(text.size()), '\0');
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string content(const ZipEntry& entry) {
  std::string out;
  unpack(entry, [&](std::span<const std::byte> piece) {
    out.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return out;
}

std::string error(const std::string& file) {
  return error_of([&] {
    for (const ZipEntry& entry : read_zip_directory(bytes_of(file))) (void)content(entry);
  });
}

const std::string& long_text() {
  static const std::string text = [] {
    std::string out;
    for (int i = 0; i < 200'000; ++i) out += format("{} ", i * 7919 % 1000);
    return out;
  }();
  return text;
}

TEST(ZipArchive, DeflatedWithoutCompression) {
  const std::string file = ZipBytes().deflate("a", long_text()).deflate("b", "").file();
  EXPECT_EQ(content(read_zip_directory(bytes_of(file)).at(0)), long_text());
  EXPECT_EQ(content(read_zip_directory(bytes_of(file)).at(1)), "");
}

TEST(ZipArchive, StoredAndDeflatedFilesOfBothWidths) {
  ZipBytes b;
  b.store("a/one", "first").deflated("a/two", packed(long_text()), long_text()).store("a/none", "");
  for (const bool is_wide : {false, true}) {
    const std::string file = b.file(is_wide);
    EXPECT_TRUE(begins_as_zip(bytes_of(file)));
    const std::vector<ZipEntry> entries = read_zip_directory(bytes_of(file));
    ASSERT_EQ(entries.size(), 3u);
    EXPECT_EQ(entries[0].name, "a/one");
    EXPECT_EQ(content(entries[0]), "first");
    EXPECT_EQ(content(entries[1]), long_text());
    EXPECT_EQ(content(entries[2]), "");
    EXPECT_LT(entries[1].bytes.size(), long_text().size());
  }
  EXPECT_FALSE(begins_as_zip(bytes_of("\x80\x02 a pickle, not an archive")));
}

TEST(ZipArchive, EveryTruncationIsRefused) {
  const std::string file = ZipBytes().store("a", "first").deflate("b", "second second").file();
  for (size_t size = 0; size < file.size(); ++size)
    EXPECT_THAT(error(file.substr(0, size)), HasSubstr("data_loss")) << size;
}

TEST(ZipArchive, EntriesThatLieAreRefused) {
  const auto with = [](auto&& change) {
    ZipBytes b;
    b.store("a", "first").store("b", "second").deflated("c", packed(long_text()), long_text());
    change(b.entries());
    return error(b.file());
  };
  using Entries = std::vector<ZipBytes::Entry>;
  EXPECT_EQ(with([](Entries&) {}), "nothing was thrown");
  EXPECT_THAT(with([](Entries& e) { e[1].begin = 3; }),
              HasSubstr("data_loss: b: begins at byte 3"));
  EXPECT_THAT(with([](Entries& e) { e[1].begin = 1 << 30; }), HasSubstr("data_loss: b: begins"));
  EXPECT_THAT(with([](Entries& e) { e[1].name = "a"; }), HasSubstr("data_loss: a lies in the"));
  EXPECT_THAT(with([](Entries& e) { e[1].size = 5; }), HasSubstr("in 6 bytes for 5"));
  EXPECT_THAT(with([](Entries& e) { e[1].flags = 1; }), HasSubstr("unsupported: b: encrypted"));
  EXPECT_THAT(with([](Entries& e) { e[1].method = 12; }),
              HasSubstr("unsupported: b: compressed by"));
  EXPECT_THAT(with([](Entries& e) { e[2].size -= 1; }), HasSubstr("data_loss: c: its compressed"));
  EXPECT_THAT(with([](Entries& e) { e[2].size += 1; }),
              HasSubstr("data_loss: c: unpacks to other"));
  EXPECT_THAT(with([](Entries& e) { e[2].crc ^= 1; }), HasSubstr("data_loss: c: unpacks to other"));
  EXPECT_THAT(with([](Entries& e) { e[1].method = 8; }), HasSubstr("data_loss: b"));
}

TEST(ZipArchive, NoMoreIsHandedOverThanTheDirectorySays) {
  ZipBytes b;
  const std::string large(5'000'000, 'x');
  b.deflated("bomb", packed(large), large);
  b.entries()[0].size = 1000;
  const std::string file = b.file();
  size_t taken = 0;
  EXPECT_THAT(error_of([&] {
                unpack(read_zip_directory(bytes_of(file)).at(0),
                       [&](std::span<const std::byte> piece) { taken += piece.size(); });
              }),
              HasSubstr("data_loss: bomb"));
  EXPECT_LE(taken, 1000u);
}

}  // namespace
}  // namespace quern
