// SPDX-License-Identifier: Apache-2.0
// bitsandbytes. Four bits (NF4, FP4):
//
//   P.weight                    u8 [N K / 2, 1]   codes of the flattened matrix, the earlier in the
//                                                 high half
//   P.weight.quant_map          f32 [16]          the value of each code
//   P.weight.absmax             f32 [N K / 64]    the scale of each 64 elements, or
//                               u8                its code, in
//   P.weight.nested_quant_map   f32 [256]
//   P.weight.nested_absmax      f32               with a scale for each 256 of those
//   P.weight.quant_state.bitsandbytes__nf4        JSON: shape, blocksize, nested_offset, …
//
//   w = quant_map[q] absmax,   absmax = nested_quant_map[c] nested_absmax + nested_offset
//
// Blocks run across the ends of rows. Where K is no multiple of 64, the greatest common divisor of
// both is the block here, each with the scale of the block that it lies in: the same numbers, told
// more often.
//
// Eight bits: P.weight i8 [N, K] and P.SCB f32 [N], w = q SCB / 127. Source: QuantState and
// Int8Params of bitsandbytes 0.45.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "weights/formats/formats.h"
#include "weights/quantization_config.h"
#include "weights/stored.h"

namespace quern {
namespace {

constexpr int64_t kMaxSide = int64_t{1} << 31;
// A finer block would tell a scale of 4 bytes for fewer codes than that; whole bytes hold it.
constexpr int64_t kLeastBlock = 8;

std::string state_name(const Checkpoint& checkpoint, std::string_view prefix) {
  for (const char* kind : {"nf4", "fp4"}) {
    std::string name = format("{}.weight.quant_state.bitsandbytes__{}", prefix, kind);
    if (checkpoint.has(name)) return name;
  }
  return "";
}

// A tensor beside the weight; its element count is checked where `count` is not 0.
const TensorInfo& sibling(const Checkpoint& checkpoint,
                          const std::string& name,
                          std::initializer_list<Stored> kinds,
                          int64_t count) {
  const TensorInfo* info = checkpoint.find(name);
  if (info == nullptr)
    fail(ErrorCode::data_loss,
         "{}: expected beside a bitsandbytes weight, found none: is the checkpoint complete?",
         name);
  const bool is_right = std::ranges::find(kinds, info->stored) != kinds.end();
  if (!is_right || (count != 0 && info->shape.numel() != count))
    fail(ErrorCode::data_loss,
         "{}: expected {} of {} elements, got {} {}",
         name,
         quern::name_of(*kinds.begin()),
         count == 0 ? "some number" : std::to_string(count),
         quern::name_of(info->stored),
         info->shape.text());
  return *info;
}

// A list of numbers as float32, all of them finite.
std::vector<float> numbers(const Checkpoint& checkpoint, const std::string& name, int64_t count) {
  (void)sibling(checkpoint, name, {Stored::f32, Stored::f16, Stored::bf16}, count);
  const Tensor t = read_f32(checkpoint, name);
  std::vector<float> out(t.data<float>(), t.data<float>() + t.numel());
  for (size_t i = 0; i < out.size(); ++i)
    if (!std::isfinite(out[i]))
      fail(ErrorCode::data_loss,
           "{}: expected finite numbers, got {} at {}: the file is damaged",
           name,
           out[i],
           i);
  return out;
}

// What the JSON beside a four-bit weight states.
struct FourBit {
  int64_t n = 0, k = 0;
  int64_t stored_block = 0;  // elements that share a scale, in the flattened matrix
  int64_t block = 0;         // columns that share one here
  int64_t nested_block = 0;
  double nested_offset = 0;
  int64_t scale_count() const { return (n * k - 1) / stored_block + 1; }
};

FourBit open_four(const Checkpoint& checkpoint, std::string_view prefix) {
  const std::string name = state_name(checkpoint, prefix);
  if (name.empty())
    fail(ErrorCode::data_loss,
         "{}.weight.quant_state.bitsandbytes__nf4: expected beside {}.weight, found none: a "
         "checkpoint of bitsandbytes 0.41 or newer has it",
         prefix,
         prefix);
  (void)sibling(checkpoint, name, {Stored::u8}, 0);
  const auto bytes = checkpoint.bytes(name);
  const Config state =
      Config::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
  const std::vector<int64_t> shape = state.integers("shape");
  FourBit out;
  if (shape.size() != 2 ||
      std::ranges::any_of(shape, [](int64_t side) { return side < 1 || side > kMaxSide; }))
    fail(ErrorCode::data_loss, "{}: key shape: expected two sizes, got {}", name, shape.size());
  out.n = shape[0], out.k = shape[1];
  out.stored_block = state.integer("blocksize", 1, 1 << 20);
  out.block = std::gcd(out.k, out.stored_block);
  out.nested_block = state.integer_or("nested_blocksize", 256, 1, 1 << 20);
  out.nested_offset = state.number_or("nested_offset", 0);
  if (!std::isfinite(out.nested_offset) || std::abs(out.nested_offset) > 1e30)
    fail(ErrorCode::data_loss, "{}: key nested_offset: {}", name, out.nested_offset);
  const std::string weight = format("{}.weight", prefix);
  (void)sibling(checkpoint, weight, {Stored::u8}, (out.n * out.k - 1) / 2 + 1);
  if (out.block % kLeastBlock != 0)
    fail(ErrorCode::unsupported,
         "{}: rows of {} in blocks of {} that run across their ends: this build re-expresses them "
         "in "
         "blocks of a multiple of {}; save the weight unquantized",
         weight,
         out.k,
         out.stored_block,
         kLeastBlock);
  return out;
}

// One scale for each stored block, both levels multiplied out as bitsandbytes does.
std::vector<float> absmax(const Checkpoint& checkpoint,
                          std::string_view prefix,
                          const FourBit& four) {
  const std::string name = format("{}.weight.absmax", prefix);
  const TensorInfo& info = sibling(
      checkpoint, name, {Stored::f32, Stored::f16, Stored::bf16, Stored::u8}, four.scale_count());
  if (info.stored != Stored::u8) return numbers(checkpoint, name, four.scale_count());
  const std::vector<float> map =
      numbers(checkpoint, format("{}.weight.nested_quant_map", prefix), 256);
  const std::vector<float> outer = numbers(checkpoint,
                                           format("{}.weight.nested_absmax", prefix),
                                           (four.scale_count() - 1) / four.nested_block + 1);
  const Tensor codes = read_tensor(checkpoint, name);
  std::vector<float> out(static_cast<size_t>(four.scale_count()));
  for (size_t j = 0; j < out.size(); ++j)
    out[j] = map[codes.data<uint8_t>()[j]] * outer[j / static_cast<size_t>(four.nested_block)] +
             static_cast<float>(four.nested_offset);
  return out;
}

// Codes [rows, cols] of a flattened matrix of k columns; both ends of `cols` are even.
void unpack_flat(const uint8_t* bytes, int64_t k, Range rows, Range cols, uint8_t* out) {
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const uint8_t* in = bytes + (r * k + cols.begin) / 2;
    for (int64_t i = 0; i < cols.size() / 2; ++i) {
      *out++ = in[i] >> 4;
      *out++ = in[i] & 15;
    }
  }
}

QuantMatrix read_four(const Checkpoint& checkpoint,
                      std::string_view prefix,
                      const FourBit& four,
                      Range rows,
                      Range cols) {
  QuantMatrix w;
  w.codes = Tensor::empty({rows.size(), cols.size()}, DType::u8);
  w.coding = Coding::table;
  w.code_bits = 4;
  w.block_cols = four.block;
  w.table = numbers(checkpoint, format("{}.weight.quant_map", prefix), 16);
  const auto* bytes =
      reinterpret_cast<const uint8_t*>(checkpoint.bytes(format("{}.weight", prefix)).data());
  unpack_flat(bytes, four.k, rows, cols, w.codes.data<uint8_t>());
  const std::vector<float> stored = absmax(checkpoint, prefix, four);
  w.scales = Tensor::empty({rows.size(), cols.size() / four.block}, DType::f32);
  float* scale = w.scales.data<float>();
  for (int64_t r = rows.begin; r < rows.end; ++r)
    for (int64_t c = cols.begin; c < cols.end; c += four.block)
      *scale++ = stored[static_cast<size_t>((r * four.k + c) / four.stored_block)];
  return w;
}

QuantMatrix four_on_meta(const FourBit& four, Range rows, Range cols) {
  QuantMatrix w;
  w.codes = Tensor::empty({rows.size(), cols.size()}, DType::u8, Device::meta());
  w.coding = Coding::table;
  w.code_bits = 4;
  w.table.assign(16, 0);
  w.block_cols = four.block;
  w.scales = Tensor::empty({rows.size(), cols.size() / four.block}, DType::f32, Device::meta());
  return w;
}

// weight_format tells how the codes are laid out: 0, as a matrix. The others are for old GPUs.
void expect_rows(const Checkpoint& checkpoint, std::string_view prefix) {
  const std::string name = format("{}.weight_format", prefix);
  if (!checkpoint.has(name)) return;
  (void)sibling(checkpoint, name, {Stored::u8}, 1);
  const auto layout = static_cast<int>(checkpoint.bytes(name)[0]);
  if (layout != 0)
    fail(ErrorCode::unsupported,
         "{}: layout {}: this build reads 0, rows; load the checkpoint with bitsandbytes 0.45 or "
         "newer and save it again",
         name,
         layout);
}

QuantMatrix read_eight(
    const Checkpoint& checkpoint, std::string_view prefix, Range rows, Range cols, Device device) {
  const std::string name = format("{}.weight", prefix), scb = format("{}.SCB", prefix);
  const Shape shape = checkpoint.info(name).shape;
  (void)sibling(checkpoint, scb, {Stored::f32, Stored::f16, Stored::bf16}, shape[0]);
  QuantMatrix w;
  w.coding = Coding::integer;
  w.scales = Tensor::empty({rows.size(), 1}, DType::f32, device);
  if (device.is_meta()) {
    w.codes = Tensor::empty({rows.size(), cols.size()}, DType::i8, device);
    return w;
  }
  expect_rows(checkpoint, prefix);
  w.codes =
      read_tensor(checkpoint, name).slice(0, rows.begin, rows.end).slice(1, cols.begin, cols.end);
  w.codes = w.codes.contiguous();
  const std::vector<float> ranges = numbers(checkpoint, scb, shape[0]);
  for (int64_t r = 0; r < rows.size(); ++r)
    w.scales.data<float>()[r] = ranges[static_cast<size_t>(rows.begin + r)] / 127.0f;
  return w;
}

class BitsAndBytesFormat final : public WeightFormat {
 public:
  std::string_view name() const override { return "bitsandbytes"; }

  bool accepts(const Checkpoint& checkpoint, std::string_view prefix) const override {
    return is_eight(checkpoint, prefix) || is_four(checkpoint, prefix);
  }

  Shape shape(const Checkpoint& checkpoint, std::string_view prefix) const override {
    if (is_eight(checkpoint, prefix)) return checkpoint.info(format("{}.weight", prefix)).shape;
    const FourBit four = open_four(checkpoint, prefix);
    return {four.n, four.k};
  }

  Granule granule(const Checkpoint& checkpoint, std::string_view prefix) const override {
    if (is_eight(checkpoint, prefix)) return {1, 1};
    return {1, open_four(checkpoint, prefix).block};
  }

  QuantMatrix read(const Checkpoint& checkpoint,
                   std::string_view prefix,
                   Range rows,
                   Range cols,
                   Device device) const override {
    if (is_eight(checkpoint, prefix)) {
      check_ranges(shape(checkpoint, prefix), rows, cols, {1, 1});
      return read_eight(checkpoint, prefix, rows, cols, device);
    }
    const FourBit four = open_four(checkpoint, prefix);
    check_ranges({four.n, four.k}, rows, cols, {1, four.block});
    return device.is_meta() ? four_on_meta(four, rows, cols)
                            : read_four(checkpoint, prefix, four, rows, cols);
  }

 private:
  static bool is_eight(const Checkpoint& checkpoint, std::string_view prefix) {
    const TensorInfo* weight = find_matrix(checkpoint, prefix);
    return weight != nullptr && weight->stored == Stored::i8 && weight->shape.rank() == 2 &&
           checkpoint.has(format("{}.SCB", prefix));
  }

  static bool is_four(const Checkpoint& checkpoint, std::string_view prefix) {
    const TensorInfo* weight = checkpoint.find(format("{}.weight", prefix));
    if (weight == nullptr || weight->stored != Stored::u8) return false;
    return checkpoint.has(format("{}.weight.quant_map", prefix)) ||
           !state_name(checkpoint, prefix).empty() ||
           checkpoint.quantization().method() == "bitsandbytes";
  }
};

}  // namespace

const WeightFormat& bitsandbytes_format() {
  static const BitsAndBytesFormat format;
  return format;
}

}  // namespace quern
