// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_header.h"

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.h"
#include "weights/byte_reader.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr uint64_t kMaxName = 65535;
constexpr uint32_t kMaxDims = 4;  // of the format
constexpr int64_t kDefaultAlignment = 32, kMaxAlignment = 1 << 20;
constexpr size_t kLeastPair = 8 + 4 + 1;        // key length, type, value
constexpr size_t kLeastTensor = 8 + 4 + 4 + 8;  // name length, dimension count, type, offset

struct TensorType {
  uint32_t id;
  std::string_view name;
  std::optional<Stored> stored;  // none: this build cannot read it
};
constexpr TensorType kTypes[] = {
    {0, "F32", Stored::f32},
    {1, "F16", Stored::f16},
    {2, "Q4_0", Stored::q4_0},
    {3, "Q4_1", Stored::q4_1},
    {6, "Q5_0", Stored::q5_0},
    {7, "Q5_1", Stored::q5_1},
    {8, "Q8_0", Stored::q8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", Stored::q2_k},
    {11, "Q3_K", Stored::q3_k},
    {12, "Q4_K", Stored::q4_k},
    {13, "Q5_K", Stored::q5_k},
    {14, "Q6_K", Stored::q6_k},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", Stored::iq4_nl},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", Stored::iq4_xs},
    {24, "I8", Stored::i8},
    {25, "I16", Stored::i16},
    {26, "I32", Stored::i32},
    {27, "I64", Stored::i64},
    {28, "F64", Stored::f64},
    {29, "IQ1_M", {}},
    {30, "BF16", Stored::bf16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", Stored::mxfp4},
    {40, "NVFP4", {}},
};

Stored stored_type(uint32_t id, std::string_view tensor) {
  for (const TensorType& type : kTypes) {
    if (type.id != id) continue;
    if (type.stored) return *type.stored;
    fail(ErrorCode::unsupported,
         "tensor {}: stored as {}; this build reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, "
         "Q2_K to Q6_K, IQ4_NL, IQ4_XS and MXFP4",
         tensor,
         type.name);
  }
  fail(ErrorCode::data_loss, "tensor {}: unknown type {}", tensor, id);
}

uint32_t read_version(ByteReader& reader) {
  const auto magic = reader.take(4, "magic");
  if (std::string_view(reinterpret_cast<const char*>(magic.data()), 4) != "GGUF")
    fail(ErrorCode::data_loss, "does not begin with GGUF: is this a GGUF file?");
  const auto version = reader.number<uint32_t>("version");
  if (version != 0 && (version & 0xffff) == 0)
    fail(ErrorCode::unsupported, "big-endian GGUF; convert it to little-endian");
  if (version != 2 && version != 3)
    fail(ErrorCode::unsupported, "GGUF version {}, this build reads 2 and 3", version);
  return version;
}

struct StoredTensor {
  GgufTensor tensor;
  uint64_t offset = 0;  // from the start of the data
};

StoredTensor read_tensor(ByteReader& reader) {
  StoredTensor out;
  GgufTensor& tensor = out.tensor;
  tensor.name = reader.string(kMaxName, "tensor name");
  const auto dims = reader.number<uint32_t>("tensor dimensions");
  if (dims > kMaxDims)
    fail(ErrorCode::data_loss,
         "tensor {}: {} dimensions, the limit is {}",
         tensor.name,
         dims,
         kMaxDims);
  std::vector<uint64_t> sizes(dims);
  for (uint64_t& size : sizes) size = reader.number<uint64_t>("tensor shape");
  if (std::ranges::find(sizes, 0u) != sizes.end())
    fail(ErrorCode::data_loss, "tensor {}: a dimension of 0", tensor.name);
  std::ranges::reverse(sizes);
  tensor.shape = checked_shape(sizes, tensor.name);
  tensor.stored = stored_type(reader.number<uint32_t>("tensor type"), tensor.name);
  out.offset = reader.number<uint64_t>("tensor offset");
  return out;
}

size_t data_begin(const ByteReader& reader, uint64_t alignment) {
  const size_t past = reader.at() % alignment;
  return past == 0 ? reader.at() : reader.at() + alignment - past;
}

int64_t alignment_of(const GgufMetadata& metadata) {
  const int64_t alignment = metadata.integer("general.alignment").value_or(kDefaultAlignment);
  if (alignment < 1 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0)
    fail(ErrorCode::data_loss,
         "general.alignment: expected a power of two up to {}, got {}",
         kMaxAlignment,
         alignment);
  return alignment;
}

// Where a tensor ends, from the start of the data. Sizes are below 2^51 bytes, so sums of bounded
// offsets cannot overflow.
uint64_t end_of(const StoredTensor& t, int64_t alignment) {
  if (t.offset % static_cast<uint64_t>(alignment) != 0)
    fail(ErrorCode::data_loss,
         "tensor {}: offset {} is no multiple of the alignment {}",
         t.tensor.name,
         t.offset,
         alignment);
  if (t.offset > uint64_t{1} << 56)
    fail(ErrorCode::data_loss, "tensor {}: offset {} is beyond any file", t.tensor.name, t.offset);
  return t.offset +
         static_cast<uint64_t>(stored_bytes(t.tensor.stored, t.tensor.shape, t.tensor.name));
}

// Sorts by offset, gives each tensor its bytes, proves that none overlaps the next. Padding may lie
// between them.
void place(std::vector<StoredTensor>& tensors,
           std::span<const std::byte> file,
           size_t begin,
           int64_t alignment) {
  std::ranges::sort(tensors, {}, &StoredTensor::offset);
  uint64_t at = 0;
  for (const StoredTensor& t : tensors) {
    const uint64_t end = end_of(t, alignment);
    if (t.offset < at)
      fail(ErrorCode::data_loss,
           "tensor {}: begins at {}, inside another tensor, which ends at {}",
           t.tensor.name,
           t.offset,
           at);
    at = end;
  }
  if (begin + at > file.size() && !tensors.empty())
    fail(ErrorCode::data_loss,
         "expected at least {} bytes as its header says, found {}: is the download complete?",
         begin + at,
         file.size());
  for (StoredTensor& t : tensors)
    t.tensor.bytes = file.subspan(begin + t.offset, end_of(t, alignment) - t.offset);
}

void expect_unique(const std::vector<StoredTensor>& tensors) {
  std::set<std::string_view> names;
  for (const StoredTensor& t : tensors)
    if (!names.insert(t.tensor.name).second)
      fail(ErrorCode::data_loss, "tensor {} is given twice", t.tensor.name);
}

GgufHeader parse(std::span<const std::byte> file) {
  ByteReader reader(file);
  GgufHeader header;
  header.version = read_version(reader);
  const auto tensor_count = reader.count(kLeastTensor, "tensor count");
  const auto pair_count = reader.count(kLeastPair, "metadata count");
  for (uint64_t i = 0; i < pair_count; ++i) header.metadata.read_pair(reader);
  std::vector<StoredTensor> tensors;
  for (uint64_t i = 0; i < tensor_count; ++i) tensors.push_back(read_tensor(reader));
  expect_unique(tensors);
  const int64_t alignment = alignment_of(header.metadata);
  place(tensors, file, data_begin(reader, static_cast<uint64_t>(alignment)), alignment);
  for (StoredTensor& t : tensors) header.tensors.push_back(std::move(t.tensor));
  return header;
}

}  // namespace

GgufHeader parse_gguf_header(std::span<const std::byte> file, std::string_view where) {
  return with_context(where, [&] { return parse(file); });
}

}  // namespace quern
