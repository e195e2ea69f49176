// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "weights/mapped_checkpoint.h"
#include "weights/stored.h"
#include "weights/stored_json.h"

namespace quern {
namespace {

constexpr size_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxOffset = uint64_t{1} << 56;  // sums of offsets below it cannot overflow
constexpr int kMaxDepth = 8;                        // the format needs three levels

struct StoredName {
  std::string_view name;
  Stored stored;
};
constexpr StoredName kDtypes[] = {
    {"F64", Stored::f64},
    {"F32", Stored::f32},
    {"F16", Stored::f16},
    {"BF16", Stored::bf16},
    {"F8_E4M3", Stored::f8_e4m3},
    {"F8_E5M2", Stored::f8_e5m2},
    {"F8_E8M0", Stored::f8_e8m0},
    {"F4", Stored::f4},
    {"I64", Stored::i64},
    {"I32", Stored::i32},
    {"I16", Stored::i16},
    {"I8", Stored::i8},
    {"U8", Stored::u8},
    {"BOOL", Stored::boolean},
};

Stored parse_dtype(const std::string& name, std::string_view where) {
  for (const StoredName& d : kDtypes)
    if (d.name == name) return d.stored;
  fail(ErrorCode::unsupported, "{}: dtype {:.32} is not supported by this build", where, name);
}

// Keys of all objects beneath and including `value`.
size_t count_keys(const Json& value) {
  size_t keys = value.is_object() ? value.size() : 0;
  if (value.is_structured())
    for (const Json& item : value) keys += count_keys(item);
  return keys;
}

// Colons outside strings: one per key. `text` is valid JSON.
size_t count_colons(std::string_view text) {
  size_t colons = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"')
      in_string = !in_string;
    else if (in_string && text[i] == '\\')
      ++i;
    else if (!in_string && text[i] == ':')
      ++colons;
  }
  return colons;
}

Json parse_header_json(std::string_view text, std::string_view where) {
  Json root =
      parse_stored_json(text, where, {.max_bytes = kMaxHeaderBytes, .max_depth = kMaxDepth});
  if (!root.is_object()) fail(ErrorCode::data_loss, "{}: the header is no JSON object", where);
  // The parser keeps the last of two equal keys: a difference in number means that one is repeated.
  if (count_colons(text) != count_keys(root))
    fail(ErrorCode::data_loss, "{}: the header repeats a tensor name or key", where);
  return root;
}

std::vector<uint64_t> unsigned_list(const Json& entry, const char* key, std::string_view where) {
  const auto it = entry.find(key);
  if (it == entry.end() || !it->is_array())
    fail(ErrorCode::data_loss, "{}: {} is missing or no array", where, key);
  std::vector<uint64_t> out;
  for (const Json& item : *it) {
    if (!item.is_number_integer() || (!item.is_number_unsigned() && item.get<int64_t>() < 0))
      fail(ErrorCode::data_loss, "{}: {} holds something else than whole numbers", where, key);
    out.push_back(item.get<uint64_t>());
  }
  return out;
}

// Offsets are checked against each other and the shape here, against the file in expect_tiling.
SafetensorsEntry parse_entry(const std::string& name, const Json& json, size_t data_begin) {
  if (!json.is_object()) fail(ErrorCode::data_loss, "expected an object, got {}", json.type_name());
  const auto dtype = json.find("dtype");
  if (dtype == json.end() || !dtype->is_string())
    fail(ErrorCode::data_loss, "dtype is missing or no string");
  const auto offsets = unsigned_list(json, "data_offsets", "entry");
  if (offsets.size() != 2)
    fail(ErrorCode::data_loss, "data_offsets: expected 2 numbers, got {}", offsets.size());
  SafetensorsEntry entry;
  entry.name = name;
  entry.stored = parse_dtype(dtype->get<std::string>(), "entry");
  entry.shape = checked_shape(unsigned_list(json, "shape", "entry"), "entry");
  if (offsets[0] > offsets[1] || offsets[1] > kMaxOffset)
    fail(ErrorCode::data_loss,
         "data_offsets [{}, {}]: expected begin <= end <= 2^56",
         offsets[0],
         offsets[1]);
  const auto expected = static_cast<uint64_t>(stored_bytes(entry.stored, entry.shape, "entry"));
  if (offsets[1] - offsets[0] != expected)
    fail(ErrorCode::data_loss,
         "{} {} takes {} bytes, data_offsets give it {}",
         name_of(entry.stored),
         entry.shape.text(),
         expected,
         offsets[1] - offsets[0]);
  entry.begin = data_begin + offsets[0];
  entry.end = data_begin + offsets[1];
  return entry;
}

void parse_metadata(const Json& json, SafetensorsHeader& header, std::string_view where) {
  if (!json.is_object()) fail(ErrorCode::data_loss, "{}: __metadata__ is no object", where);
  for (const auto& [key, value] : json.get_ref<const Json::object_t&>()) {
    if (!value.is_string())
      fail(ErrorCode::data_loss, "{}: __metadata__ {}: expected a string", where, key);
    header.metadata.emplace_back(key, value.get<std::string>());
  }
}

// Sorts by offset and proves that the tensors tile the data exactly.
void expect_tiling(std::vector<SafetensorsEntry>& entries,
                   size_t data_begin,
                   size_t file_size,
                   std::string_view where) {
  std::ranges::sort(
      entries, {}, [](const SafetensorsEntry& e) { return std::pair(e.begin, e.end); });
  size_t at = data_begin;
  for (const SafetensorsEntry& e : entries) {
    if (e.begin != at)
      fail(ErrorCode::data_loss,
           "{}: tensor {}: {} at byte {}: expected it to begin at {}",
           where,
           e.name,
           e.begin < at ? "overlaps another" : "leaves a gap",
           e.begin,
           at);
    at = e.end;
  }
  if (at > file_size)
    fail(ErrorCode::data_loss,
         "{}: expected {} bytes as its header says, found {}: is the download complete?",
         where,
         at,
         file_size);
  if (at < file_size)
    fail(ErrorCode::data_loss,
         "{}: {} bytes after the last tensor belong to nothing",
         where,
         file_size - at);
}

uint64_t read_length(std::span<const std::byte> file) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= static_cast<uint64_t>(file[i]) << (8 * i);
  return length;
}

// Entries in the order of the text, their offsets counted from the start of the file.
SafetensorsHeader parse_header_text(std::string_view text, std::string_view where) {
  const Json root = parse_header_json(text, where);
  const size_t data_begin = kLengthBytes + text.size();
  SafetensorsHeader header;
  for (const auto& item : root.get_ref<const Json::object_t&>()) {
    if (item.first == "__metadata__")
      parse_metadata(item.second, header, where);
    else
      header.entries.push_back(with_context(format("{}: tensor {}", where, item.first), [&] {
        return parse_entry(item.first, item.second, data_begin);
      }));
  }
  return header;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           std::string_view where) {
  if (file.size() < kLengthBytes)
    fail(ErrorCode::data_loss,
         "{}: {} bytes are too few for a safetensors file",
         where,
         file.size());
  const uint64_t length = read_length(file);
  if (length > kMaxHeaderBytes)
    fail(ErrorCode::data_loss,
         "{}: a header of {} bytes, the limit is {}: is this a safetensors file?",
         where,
         length,
         kMaxHeaderBytes);
  if (length > file.size() - kLengthBytes)
    fail(ErrorCode::data_loss,
         "{}: expected at least {} bytes as its first bytes say, found {}: is the download "
         "complete?",
         where,
         length + kLengthBytes,
         file.size());
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  SafetensorsHeader header = parse_header_text(text, where);
  expect_tiling(header.entries, kLengthBytes + length, file.size(), where);
  return header;
}

std::vector<SafetensorsEntry> parse_safetensors_entries(std::string_view text,
                                                        std::string_view where) {
  std::vector<SafetensorsEntry> entries = parse_header_text(text, where).entries;
  size_t end = kLengthBytes + text.size();
  for (const SafetensorsEntry& e : entries) end = std::max(end, e.end);
  expect_tiling(entries, kLengthBytes + text.size(), end, where);
  return entries;
}

std::string_view safetensors_name(Stored stored) {
  for (const StoredName& d : kDtypes)
    if (d.stored == stored) return d.name;
  QUERN_CHECK(false, "{} is no dtype of safetensors", name_of(stored));
  return {};
}

std::unique_ptr<Checkpoint> open_safetensors_file(const std::string& path) {
  auto out = std::make_unique<MappedCheckpoint>(Config::parse("{}", path));
  const std::span<const std::byte> bytes = out->own(MappedFile(path));
  for (SafetensorsEntry& e : parse_safetensors_header(bytes, path).entries)
    out->add(
        {std::move(e.name), e.stored, e.shape, {}}, bytes.subspan(e.begin, e.end - e.begin), path);
  return out;
}

}  // namespace quern
