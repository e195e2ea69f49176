// SPDX-License-Identifier: Apache-2.0
// ProtoReader: a cursor over one message in the wire format of Protocol Buffers. Source: "Encoding"
// in the Protocol Buffers documentation.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "weights/byte_reader.h"

namespace quern {

enum class ProtoWire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

struct ProtoField {
  uint32_t number = 0;
  ProtoWire wire = ProtoWire::varint;
  uint64_t value = 0;                // of all kinds but bytes, as its bits
  std::span<const std::byte> bytes;  // a text, a message, or packed numbers

  bool is(uint32_t wanted, ProtoWire kind) const { return number == wanted && wire == kind; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

class ProtoReader {
 public:
  explicit ProtoReader(std::span<const std::byte> message) : reader_(message) {}

  // The next field; nothing at the end of the message. Throws data_loss for what is none.
  std::optional<ProtoField> next();
  bool is_at_end() const { return reader_.left() == 0; }
  // A number by itself, as they lie in a packed list.
  uint64_t varint();

 private:
  ByteReader reader_;
};

}  // namespace quern
