// SPDX-License-Identifier: Apache-2.0
#include "weights/proto_reader.h"

#include "base/error.h"

namespace quern {

uint64_t ProtoReader::varint() {
  uint64_t out = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const auto byte = reader_.number<uint8_t>("number");
    out |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return out;
  }
  fail(ErrorCode::data_loss, "a number at byte {} without an end", reader_.at());
}

std::optional<ProtoField> ProtoReader::next() {
  if (is_at_end()) return std::nullopt;
  const uint64_t tag = varint();
  ProtoField out;
  out.number = static_cast<uint32_t>(tag >> 3);
  if (tag > UINT32_MAX || out.number == 0)
    fail(ErrorCode::data_loss, "no field at byte {}: is this a protobuf file?", reader_.at());
  out.wire = static_cast<ProtoWire>(tag & 7);
  switch (out.wire) {
    case ProtoWire::varint:
      out.value = varint();
      break;
    case ProtoWire::fixed64:
      out.value = reader_.number<uint64_t>("number");
      break;
    case ProtoWire::fixed32:
      out.value = reader_.number<uint32_t>("number");
      break;
    case ProtoWire::bytes:
      out.bytes = reader_.take(varint(), "field");
      break;
    default:
      fail(ErrorCode::data_loss,
           "field {} before byte {}: kind {} is not known",
           out.number,
           reader_.at(),
           tag & 7);
  }
  return out;
}

}  // namespace quern
