// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_metadata.h"

#include <array>
#include <charconv>

#include "base/error.h"

namespace quern {
namespace {

constexpr uint64_t kMaxKey = 65535;  // of the format
constexpr int kMaxDepth = 4;         // arrays in arrays; no known file has any

struct TypeInfo {
  std::string_view name;
  size_t bytes;  // of one element; of a string or array: the least
};
constexpr TypeInfo kTypes[] = {{"u8", 1},
                               {"i8", 1},
                               {"u16", 2},
                               {"i16", 2},
                               {"u32", 4},
                               {"i32", 4},
                               {"f32", 4},
                               {"bool", 1},
                               {"string", 8},
                               {"array", 12},
                               {"u64", 8},
                               {"i64", 8},
                               {"f64", 8}};

const TypeInfo& info_of(GgufType type) {
  return kTypes[static_cast<size_t>(type)];
}

GgufType read_type(ByteReader& reader, std::string_view key) {
  const auto type = reader.number<uint32_t>(key);
  if (type > static_cast<uint32_t>(GgufType::f64))
    fail(ErrorCode::data_loss, "key {}: unknown value type {}", key, type);
  return static_cast<GgufType>(type);
}

void skip_elements(
    ByteReader& reader, std::string_view key, GgufType element, uint64_t count, int depth);

GgufValue read_array(ByteReader& reader, std::string_view key, int depth) {
  if (depth > kMaxDepth)
    fail(ErrorCode::data_loss, "key {}: arrays nested deeper than {}", key, kMaxDepth);
  GgufValue value;
  value.type = GgufType::array;
  value.element = read_type(reader, key);
  value.count = reader.count(info_of(value.element).bytes, key);
  ByteReader elements = reader;
  skip_elements(reader, key, value.element, value.count, depth);
  value.bytes = elements.take(reader.at() - elements.at(), key);
  return value;
}

void skip_elements(
    ByteReader& reader, std::string_view key, GgufType element, uint64_t count, int depth) {
  if (element == GgufType::string) {
    for (uint64_t i = 0; i < count; ++i) reader.string(UINT64_MAX, key);
  } else if (element == GgufType::array) {
    for (uint64_t i = 0; i < count; ++i) read_array(reader, key, depth + 1);
  } else {
    reader.take(count * info_of(element).bytes, key);  // count() has bounded the product
  }
}

GgufValue read_value(ByteReader& reader, std::string_view key) {
  GgufValue value;
  value.type = read_type(reader, key);
  if (value.type == GgufType::array) return read_array(reader, key, 1);
  if (value.type == GgufType::string) {
    value.bytes = std::as_bytes(std::span(reader.string(UINT64_MAX, key)));
    return value;
  }
  value.bytes = reader.take(info_of(value.type).bytes, key);
  return value;
}

template <typename T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

// Nothing if the type is no integer, or the value beyond int64.
std::optional<int64_t> integer_at(GgufType type, const std::byte* bytes) {
  switch (type) {
    case GgufType::u8:
      return load<uint8_t>(bytes);
    case GgufType::i8:
      return load<int8_t>(bytes);
    case GgufType::u16:
      return load<uint16_t>(bytes);
    case GgufType::i16:
      return load<int16_t>(bytes);
    case GgufType::u32:
      return load<uint32_t>(bytes);
    case GgufType::i32:
      return load<int32_t>(bytes);
    case GgufType::i64:
      return load<int64_t>(bytes);
    case GgufType::u64:
      if (const auto value = load<uint64_t>(bytes); value <= static_cast<uint64_t>(INT64_MAX))
        return static_cast<int64_t>(value);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

double widened(float value) {
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  double out = value;
  std::from_chars(digits.data(), end, out);
  return out;
}

[[noreturn]] void fail_type(std::string_view key,
                            std::string_view expected,
                            const GgufValue& value) {
  fail(ErrorCode::data_loss,
       "key {}: expected {}, got {}{}",
       key,
       expected,
       value.type == GgufType::array ? "an array of " : "",
       name_of(value.type == GgufType::array ? value.element : value.type));
}

}  // namespace

std::string_view name_of(GgufType type) {
  return info_of(type).name;
}

void GgufMetadata::read_pair(ByteReader& reader) {
  const std::string key(reader.string(kMaxKey, "metadata key"));
  if (!values_.emplace(key, read_value(reader, key)).second)
    fail(ErrorCode::data_loss, "key {} is given twice", key);
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

std::optional<int64_t> GgufMetadata::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto out = integer_at(value->type, value->bytes.data());
  if (!out) fail_type(key, "an integer below 2^63", *value);
  return out;
}

std::optional<double> GgufMetadata::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type == GgufType::f32) return widened(load<float>(value->bytes.data()));
  if (value->type == GgufType::f64) return load<double>(value->bytes.data());
  const auto out = integer_at(value->type, value->bytes.data());
  if (!out) fail_type(key, "a number", *value);
  return static_cast<double>(*out);
}

std::optional<bool> GgufMetadata::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::boolean) fail_type(key, "true or false", *value);
  return load<uint8_t>(value->bytes.data()) != 0;
}

std::optional<std::string_view> GgufMetadata::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::string) fail_type(key, "a string", *value);
  return std::string_view(reinterpret_cast<const char*>(value->bytes.data()), value->bytes.size());
}

std::vector<int64_t> GgufMetadata::integers(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (value->type != GgufType::array) return {*integer(key)};
  if (value->count > kMaxItems)
    fail(ErrorCode::data_loss, "key {}: {} items, the limit is {}", key, value->count, kMaxItems);
  std::vector<int64_t> out;
  out.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const auto item =
        integer_at(value->element, value->bytes.data() + i * info_of(value->element).bytes);
    if (!item) fail_type(key, "an array of integers", *value);
    out.push_back(*item);
  }
  return out;
}

std::vector<std::string_view> GgufMetadata::strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return {};
  if (value->type != GgufType::array || value->element != GgufType::string)
    fail_type(key, "an array of strings", *value);
  if (value->count > kMaxItems)
    fail(ErrorCode::data_loss, "key {}: {} items, the limit is {}", key, value->count, kMaxItems);
  std::vector<std::string_view> out;
  out.reserve(value->count);
  ByteReader reader(value->bytes);
  for (uint64_t i = 0; i < value->count; ++i) out.push_back(reader.string(UINT64_MAX, key));
  return out;
}

}  // namespace quern
