// SPDX-License-Identifier: Apache-2.0
#include "weights/zip_archive.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "weights/byte_reader.h"

namespace quern {
namespace {

constexpr uint32_t kLocalMark = 0x04034b50, kEntryMark = 0x02014b50, kEndMark = 0x06054b50;
constexpr uint32_t kEnd64Mark = 0x06064b50, kLocator64Mark = 0x07064b50;
constexpr size_t kEndBytes = 22, kLocator64Bytes = 20, kLocalBytes = 30, kEntryBytes = 46;
constexpr size_t kMaxComment = 65535;
constexpr uint32_t kMax32 = 0xffffffff;
constexpr uint16_t kMax16 = 0xffff, kExtra64 = 1;
constexpr uint16_t kStored = 0, kDeflated = 8;
constexpr size_t kPieceBytes = size_t{1} << 18;

uint32_t mark_at(std::span<const std::byte> file, size_t at) {
  return ByteReader(file.subspan(at)).number<uint32_t>("mark");
}

// The end record stands at the end of the file, but for a comment.
size_t find_end(std::span<const std::byte> file) {
  for (size_t back = kEndBytes; back <= std::min(file.size(), kEndBytes + kMaxComment); ++back)
    if (mark_at(file, file.size() - back) == kEndMark) return file.size() - back;
  fail(ErrorCode::data_loss,
       "no directory of a zip archive in its last bytes: is the file complete?");
}

struct Directory {
  uint64_t entries = 0, bytes = 0, begin = 0;
};

// The record with 64 bits, which a locator in front of the end record points to.
Directory read_end64(std::span<const std::byte> file, size_t end) {
  if (end < kLocator64Bytes || mark_at(file, end - kLocator64Bytes) != kLocator64Mark)
    fail(ErrorCode::data_loss, "zip directory: sizes of 64 bits are announced and missing");
  ByteReader locator(file.subspan(end - kLocator64Bytes, kLocator64Bytes));
  (void)locator.take(8, "zip locator");
  const auto at = locator.number<uint64_t>("zip locator");
  if (at > file.size())
    fail(ErrorCode::data_loss, "zip locator: points to byte {} of {}", at, file.size());
  ByteReader reader(file.subspan(at));
  if (reader.number<uint32_t>("zip directory") != kEnd64Mark)
    fail(ErrorCode::data_loss, "zip locator: no directory at byte {}", at);
  (void)reader.take(8 + 2 + 2 + 4 + 4 + 8, "zip directory");
  Directory out;
  out.entries = reader.number<uint64_t>("zip directory");
  out.bytes = reader.number<uint64_t>("zip directory");
  out.begin = reader.number<uint64_t>("zip directory");
  return out;
}

Directory read_end(std::span<const std::byte> file) {
  const size_t end = find_end(file);
  ByteReader reader(file.subspan(end));
  (void)reader.take(4, "zip end");
  const auto disk = reader.number<uint16_t>("zip end");
  (void)reader.take(4, "zip end");
  Directory out;
  out.entries = reader.number<uint16_t>("zip end");
  out.bytes = reader.number<uint32_t>("zip end");
  out.begin = reader.number<uint32_t>("zip end");
  if (out.entries == kMax16 || out.bytes == kMax32 || out.begin == kMax32)
    out = read_end64(file, end);
  else if (disk != 0)
    fail(ErrorCode::unsupported, "a zip archive in several parts");
  if (out.begin > end || out.bytes > end - out.begin || out.entries > out.bytes / kEntryBytes)
    fail(ErrorCode::data_loss,
         "zip directory: {} entries in {} bytes from byte {}, the file has {} before its end",
         out.entries,
         out.bytes,
         out.begin,
         end);
  return out;
}

struct Sizes {
  uint64_t unpacked = 0, packed = 0, begin = 0;
};

// What does not fit 32 bits stands in the extra field with 64, in this order.
void widen(Sizes& sizes, std::span<const std::byte> extra) {
  ByteReader reader(extra);
  while (reader.left() >= 4) {
    const auto id = reader.number<uint16_t>("zip extra field");
    const auto field = reader.take(reader.number<uint16_t>("zip extra field"), "zip extra field");
    if (id != kExtra64) continue;
    ByteReader wide(field);
    for (uint64_t* size : {&sizes.unpacked, &sizes.packed, &sizes.begin})
      if (*size == kMax32) *size = wide.number<uint64_t>("zip extra field");
    return;
  }
}

struct PlacedEntry {
  ZipEntry entry;
  uint64_t begin = 0, packed = 0;  // of its local header; of its bytes
};

PlacedEntry read_entry(ByteReader& reader) {
  if (reader.number<uint32_t>("zip entry") != kEntryMark)
    fail(ErrorCode::data_loss, "zip directory: no entry at its byte {}", reader.at() - 4);
  (void)reader.take(4, "zip entry");
  const auto flags = reader.number<uint16_t>("zip entry");
  const auto method = reader.number<uint16_t>("zip entry");
  (void)reader.take(4, "zip entry");
  PlacedEntry out;
  out.entry.crc = reader.number<uint32_t>("zip entry");
  Sizes sizes;
  sizes.packed = reader.number<uint32_t>("zip entry");
  sizes.unpacked = reader.number<uint32_t>("zip entry");
  const auto name_bytes = reader.number<uint16_t>("zip entry");
  const auto extra_bytes = reader.number<uint16_t>("zip entry");
  const auto comment_bytes = reader.number<uint16_t>("zip entry");
  (void)reader.take(8, "zip entry");
  sizes.begin = reader.number<uint32_t>("zip entry");
  const auto name = reader.take(name_bytes, "zip entry name");
  out.entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  widen(sizes, reader.take(extra_bytes, "zip extra field"));
  (void)reader.take(comment_bytes, "zip comment");
  if ((flags & 1) != 0) fail(ErrorCode::unsupported, "{:.80}: encrypted", out.entry.name);
  if (method != kStored && method != kDeflated)
    fail(ErrorCode::unsupported, "{:.80}: compressed by method {}", out.entry.name, method);
  out.entry.is_deflated = method == kDeflated;
  if (!out.entry.is_deflated && sizes.packed != sizes.unpacked)
    fail(ErrorCode::data_loss,
         "{:.80}: stored as it is, in {} bytes for {}",
         out.entry.name,
         sizes.packed,
         sizes.unpacked);
  out.entry.size = sizes.unpacked;
  out.begin = sizes.begin;
  out.packed = sizes.packed;
  return out;
}

// Gives each entry its bytes; all lie between the start of the file and the directory, in a row.
void place(std::vector<PlacedEntry>& entries, std::span<const std::byte> file) {
  std::ranges::sort(entries, {}, &PlacedEntry::begin);
  uint64_t free_from = 0;
  for (PlacedEntry& e : entries) {
    if (e.begin < free_from || e.begin > file.size() || file.size() - e.begin < kLocalBytes)
      fail(ErrorCode::data_loss,
           "{:.80}: begins at byte {}, expected one of [{}, {}]",
           e.entry.name,
           e.begin,
           free_from,
           file.size());
    ByteReader reader(file.subspan(e.begin));
    if (reader.number<uint32_t>("zip header") != kLocalMark)
      fail(ErrorCode::data_loss, "{:.80}: no file at byte {}", e.entry.name, e.begin);
    (void)reader.take(22, "zip header");
    const auto name_bytes = reader.number<uint16_t>("zip header");
    const auto extra_bytes = reader.number<uint16_t>("zip header");
    (void)reader.take(size_t{name_bytes} + extra_bytes, "zip header");
    e.entry.bytes = reader.take(e.packed, "a file in the archive");
    free_from = e.begin + reader.at();
  }
}

void expect_unique(const std::vector<PlacedEntry>& entries) {
  std::vector<std::string_view> names;
  for (const PlacedEntry& e : entries) names.push_back(e.entry.name);
  std::ranges::sort(names);
  if (const auto twin = std::ranges::adjacent_find(names); twin != names.end())
    fail(ErrorCode::data_loss, "{:.80} lies in the archive twice", *twin);
}

// zlib's stream, ended in any case.
class Inflater {
 public:
  Inflater() {
    if (inflateInit2(&stream_, -MAX_WBITS) != Z_OK)
      fail(ErrorCode::exhausted, "no memory to unpack");
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream& stream() { return stream_; }

 private:
  z_stream stream_{};
};

void inflate_entry(const ZipEntry& entry,
                   const std::function<void(std::span<const std::byte>)>& take) {
  Inflater inflater;
  z_stream& stream = inflater.stream();
  std::vector<std::byte> piece(kPieceBytes);
  std::span<const std::byte> in = entry.bytes;
  uint64_t left = entry.size;
  uLong crc = crc32(0, nullptr, 0);
  for (int state = Z_OK; state != Z_STREAM_END;) {
    if (stream.avail_in == 0) {
      const size_t count = std::min(in.size(), kPieceBytes);
      // zlib reads only, its pointer is not const for older callers.
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
      stream.avail_in = static_cast<uInt>(count);
      in = in.subspan(count);
    }
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    state = inflate(&stream, Z_NO_FLUSH);
    const auto made = std::span(piece).first(piece.size() - stream.avail_out);
    // Without anything left to read zlib says Z_BUF_ERROR.
    if ((state != Z_OK && state != Z_STREAM_END) || made.size() > left)
      fail(ErrorCode::data_loss, "{:.80}: its compressed bytes are damaged", entry.name);
    crc = crc32(crc, reinterpret_cast<const Bytef*>(made.data()), static_cast<uInt>(made.size()));
    left -= made.size();
    if (!made.empty()) take(made);
  }
  if (left != 0 || crc != entry.crc)
    fail(ErrorCode::data_loss,
         "{:.80}: unpacks to other bytes than the archive says: is the download complete?",
         entry.name);
}

}  // namespace

bool begins_as_zip(std::span<const std::byte> file) {
  return file.size() >= kEndBytes && mark_at(file, 0) == kLocalMark;
}

std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> file) {
  const Directory directory = read_end(file);
  ByteReader reader(file.subspan(directory.begin, directory.bytes));
  std::vector<PlacedEntry> entries;
  for (uint64_t i = 0; i < directory.entries; ++i) entries.push_back(read_entry(reader));
  expect_unique(entries);
  place(entries, file.first(directory.begin));
  std::vector<ZipEntry> out;
  for (PlacedEntry& e : entries) out.push_back(std::move(e.entry));
  return out;
}

void unpack(const ZipEntry& entry, const std::function<void(std::span<const std::byte>)>& take) {
  if (entry.is_deflated) return inflate_entry(entry, take);
  for (size_t at = 0; at < entry.bytes.size(); at += kPieceBytes)
    take(entry.bytes.subspan(at, std::min(kPieceBytes, entry.bytes.size() - at)));
}

}  // namespace quern
