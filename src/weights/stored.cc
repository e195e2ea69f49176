// SPDX-License-Identifier: Apache-2.0
#include "weights/stored.h"

#include <iterator>

#include "base/error.h"

namespace quern {
namespace {

// One line per Stored, in its order.
struct StoredKind {
  std::string_view name;
  int block_elements, block_bytes;
  std::optional<DType> dtype;
};

constexpr StoredKind kKinds[] = {
    {"f64", 1, 8, DType::f64},
    {"f32", 1, 4, DType::f32},
    {"f16", 1, 2, DType::f16},
    {"bf16", 1, 2, DType::bf16},
    {"f8_e4m3", 1, 1, DType::f8_e4m3},
    {"f8_e5m2", 1, 1, DType::f8_e5m2},
    {"f8_e8m0", 1, 1, {}},
    {"f4", 2, 1, {}},
    {"i64", 1, 8, DType::i64},
    {"i32", 1, 4, DType::i32},
    {"i16", 1, 2, DType::i16},
    {"i8", 1, 1, DType::i8},
    {"u8", 1, 1, DType::u8},
    {"bool", 1, 1, DType::boolean},
    {"q4_0", 32, 18, {}},
    {"q4_1", 32, 20, {}},
    {"q5_0", 32, 22, {}},
    {"q5_1", 32, 24, {}},
    {"q8_0", 32, 34, {}},
    {"q4_k", 256, 144, {}},
    {"q5_k", 256, 176, {}},
    {"q6_k", 256, 210, {}},
    {"q2_k", 256, 84, {}},
    {"q3_k", 256, 110, {}},
    {"iq4_nl", 32, 18, {}},
    {"iq4_xs", 256, 136, {}},
    {"mxfp4", 32, 17, {}},
};
static_assert(std::size(kKinds) == static_cast<size_t>(Stored::mxfp4) + 1);

const StoredKind& kind_of(Stored stored) {
  return kKinds[static_cast<size_t>(stored)];
}

}  // namespace

std::string_view name_of(Stored stored) {
  return kind_of(stored).name;
}

std::optional<DType> dtype_of(Stored stored) {
  return kind_of(stored).dtype;
}

Block block_of(Stored stored) {
  return {kind_of(stored).block_elements, kind_of(stored).block_bytes};
}

Shape checked_shape(std::span<const uint64_t> dims, std::string_view where) {
  if (dims.size() > Shape::kMaxRank)
    fail(ErrorCode::unsupported,
         "{}: {} dimensions, the limit is {}",
         where,
         dims.size(),
         Shape::kMaxRank);
  Shape shape = Shape(std::vector<int64_t>(dims.size(), 0));
  uint64_t numel = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    // An early zero may not hide a product that overflows: each factor is bounded as well.
    if (dims[i] > kMaxElements ||
        __builtin_mul_overflow(numel, dims[i] == 0 ? 1 : dims[i], &numel) || numel > kMaxElements)
      fail(ErrorCode::data_loss,
           "{}: shape [{}] has more than 2^48 elements",
           where,
           fmt::join(dims, ", "));
    shape.set(static_cast<int>(i), static_cast<int64_t>(dims[i]));
  }
  return shape;
}

int64_t stored_bytes(Stored stored, const Shape& shape, std::string_view where) {
  const Block block = block_of(stored);
  const int64_t row = shape.rank() == 0 ? 1 : shape[-1];
  if (row % block.elements != 0)
    fail(ErrorCode::data_loss,
         "{}: rows of {} elements are no multiple of the {} elements of a {} block",
         where,
         row,
         block.elements,
         name_of(stored));
  return shape.numel() / block.elements * block.bytes;
}

}  // namespace quern
