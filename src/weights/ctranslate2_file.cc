// SPDX-License-Identifier: Apache-2.0
#include "weights/ctranslate2_file.h"

#include <iterator>
#include <vector>

#include "base/error.h"
#include "weights/byte_reader.h"
#include "weights/named_tensors.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr uint32_t kVersion6 = 6;
constexpr uint32_t kMaxVariables = 1 << 18;
constexpr size_t kMaxName = 4096;
// In the order of their numbers in the file.
constexpr Stored kElementTypes[] = {
    Stored::f32, Stored::i8, Stored::i16, Stored::i32, Stored::f16, Stored::bf16};

// A length of two bytes, then the text and a zero.
std::string read_name(ByteReader& reader, std::string_view what) {
  const auto length = reader.number<uint16_t>(what);
  const auto bytes = reader.take(length, what);
  if (length == 0 || length > kMaxName || bytes.back() != std::byte{0})
    fail(ErrorCode::data_loss, "{} at byte {}: no text that ends in zero", what, reader.at());
  return {reinterpret_cast<const char*>(bytes.data()), length - 1u};
}

uint32_t read_count(ByteReader& reader, std::string_view what) {
  const auto count = reader.number<uint32_t>(what);
  if (count > kMaxVariables)
    fail(ErrorCode::data_loss, "{} {}: the limit is {}", count, what, kMaxVariables);
  return count;
}

void read_variable(ByteReader& reader, NamedTensors& out) {
  TensorInfo info;
  info.name = read_name(reader, "name of a variable");
  std::vector<uint64_t> sizes(reader.number<uint8_t>("axes"));
  for (uint64_t& size : sizes) size = reader.number<uint32_t>("shape");
  info.shape = checked_shape(sizes, info.name);
  const auto type = reader.number<uint8_t>("element type");
  if (type >= std::size(kElementTypes))
    fail(ErrorCode::unsupported, "{:.200}: element type {}", info.name, type);
  info.stored = kElementTypes[type];
  const auto bytes = reader.number<uint32_t>("size");
  // Sizes have 32 bits in the file: of a larger variable only the lower ones stand there.
  const auto expected = static_cast<uint64_t>(stored_bytes(info.stored, info.shape, info.name));
  if (bytes != expected)
    fail(ErrorCode::data_loss,
         "{:.200}: {} {} takes {} bytes, the file gives it {}",
         info.name,
         name_of(info.stored),
         info.shape.text(),
         expected,
         bytes);
  const auto data = reader.take(bytes, "variable");
  out.add(std::move(info), data);
}

Ctranslate2Model read_model(std::unique_ptr<NamedTensors> tensors) {
  ByteReader reader(tensors->file());
  const auto version = reader.number<uint32_t>("version");
  if (version != kVersion6)
    fail(ErrorCode::unsupported,
         "binary version {} of CTranslate2, this build reads {}: convert the model anew",
         version,
         kVersion6);
  Ctranslate2Model out;
  out.spec = read_name(reader, "name of the specification");
  out.revision = reader.number<uint32_t>("revision");
  for (uint32_t left = read_count(reader, "variables"); left > 0; --left)
    read_variable(reader, *tensors);
  for (uint32_t left = read_count(reader, "aliases"); left > 0; --left) {
    const std::string alias = read_name(reader, "alias"), name = read_name(reader, "alias");
    const TensorInfo* variable = tensors->find(name);
    if (variable == nullptr)
      fail(ErrorCode::data_loss, "alias {:.200}: there is no variable {:.200}", alias, name);
    tensors->add({alias, variable->stored, variable->shape, {}}, tensors->bytes(name));
  }
  if (reader.left() > 0)
    fail(ErrorCode::data_loss, "{} bytes behind the last alias", reader.left());
  out.variables = std::move(tensors);
  return out;
}

}  // namespace

Ctranslate2Model open_ctranslate2_file(const std::string& path) {
  return with_context(path,
                      [&] { return read_model(std::make_unique<NamedTensors>(MappedFile(path))); });
}

}  // namespace quern
