// SPDX-License-Identifier: Apache-2.0
#include "weights/byte_reader.h"

#include <bit>

#include "base/error.h"

namespace quern {

static_assert(std::endian::native == std::endian::little, "numbers are copied as they are stored");

std::span<const std::byte> ByteReader::take(uint64_t count, std::string_view what) {
  if (count > left())
    fail(ErrorCode::data_loss,
         "{} at byte {}: expected {} bytes, the file of {} bytes has {} left: is the download "
         "complete?",
         what,
         at_,
         count,
         bytes_.size(),
         left());
  const auto out = bytes_.subspan(at_, count);
  at_ += count;
  return out;
}

std::string_view ByteReader::string(uint64_t max, std::string_view what) {
  const auto length = number<uint64_t>(what);
  if (length > max)
    fail(ErrorCode::data_loss,
         "{} at byte {}: {} characters, the limit is {}",
         what,
         at_,
         length,
         max);
  const auto bytes = take(length, what);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t ByteReader::count(size_t least_bytes, std::string_view what) {
  const auto count = number<uint64_t>(what);
  if (count > left() / least_bytes)
    fail(ErrorCode::data_loss,
         "{}: {} of at least {} bytes each, the file of {} bytes has {} left: is it damaged?",
         what,
         count,
         least_bytes,
         bytes_.size(),
         left());
  return count;
}

}  // namespace quern
