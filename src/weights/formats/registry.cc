// SPDX-License-Identifier: Apache-2.0
// The table of formats, and what is said when none of them fits.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "weights/formats/formats.h"
#include "weights/tensor_names.h"

namespace quern {
namespace {

std::vector<std::string> tensors_under(const Checkpoint& checkpoint, std::string_view prefix) {
  const std::string dotted = format("{}.", prefix);
  std::vector<std::string> out;
  for (std::string& name : checkpoint.names())
    if (name.starts_with(dotted)) out.push_back(std::move(name));
  return out;
}

// What the tensors look like, for a message; empty if nothing known.
std::string_view guess_format(const Checkpoint& checkpoint, std::string_view prefix) {
  struct Sign {
    std::string_view tensor, format;
  };
  // The first sign that is present decides.
  static constexpr Sign kSigns[] = {
      {"weight_packed", "compressed-tensors"},
      {"weight_scale_inv", "FP8 with block scales"},
      {"weight_scale", "FP8 or INT8 with scales"},
      {"B", "Marlin"},
      {"W_q", "HQQ"},
      {"q_weight", "EXL2"},
      {"codebooks", "AQLM"},
  };
  for (const Sign& sign : kSigns)
    if (checkpoint.has(format("{}.{}", prefix, sign.tensor))) return sign.format;
  const TensorInfo* weight = checkpoint.find(format("{}.weight", prefix));
  if (weight == nullptr) return {};
  if (weight->stored == Stored::f8_e4m3 || weight->stored == Stored::f8_e5m2)
    return "FP8 without scales";
  return weight->shape.rank() < 2 ? "not a matrix" : "an integer type without scales";
}

std::string names_of_formats() {
  std::string out;
  for (const WeightFormat* format : weight_formats())
    out += (out.empty() ? "" : ", ") + std::string(format->name());
  return out;
}

[[noreturn]] void fail_unknown(const Checkpoint& checkpoint, std::string_view prefix) {
  const std::string_view guess = guess_format(checkpoint, prefix);
  if (guess.empty())
    (void)checkpoint.info(format("{}.weight", prefix));  // throws not_found with near misses
  std::string list;
  for (const std::string& name : tensors_under(checkpoint, canonical_name(prefix))) {
    const TensorInfo& info = checkpoint.info(name);
    list += format(
        "{}{} {} {}", list.empty() ? "" : ", ", name, name_of(info.stored), info.shape.text());
  }
  fail(ErrorCode::unsupported,
       "{}: no known weight format (looks like {}): found {}; this build reads {}",
       prefix,
       guess,
       list,
       names_of_formats());
}

}  // namespace

const TensorInfo* find_matrix(const Checkpoint& checkpoint, std::string_view prefix) {
  const TensorInfo* info = checkpoint.find(format("{}.weight", prefix));
  return info == nullptr || info->shape.rank() < 2 ? nullptr : info;
}

Shape matrix_shape(const TensorInfo& info) {
  int64_t cols = 1;
  for (int axis = 1; axis < info.shape.rank(); ++axis) cols *= info.shape[axis];
  return {info.shape.rank() == 0 ? 1 : info.shape[0], cols};
}

void check_ranges(const Shape& matrix, Range rows, Range cols, Granule granule) {
  const auto check = [&](const char* what, Range range, int64_t step, int64_t length) {
    const auto is_cut = [&](int64_t at) { return at % step == 0 || at == length; };
    QUERN_CHECK(0 <= range.begin && range.begin <= range.end && range.end <= length &&
                    is_cut(range.begin) && is_cut(range.end),
                "{} [{}, {}) of {} in steps of {}",
                what,
                range.begin,
                range.end,
                matrix.text(),
                step);
  };
  check("rows", rows, granule.rows, matrix[0]);
  check("columns", cols, granule.cols, matrix[1]);
}

const TensorInfo& weight_under(const Checkpoint& checkpoint, std::string_view prefix) {
  return checkpoint.info(format("{}.weight", prefix));
}

const TensorInfo& weight_to_read(const Checkpoint& checkpoint,
                                 std::string_view prefix,
                                 Range rows,
                                 Range cols,
                                 Granule granule) {
  const TensorInfo& info = weight_under(checkpoint, prefix);
  check_ranges(matrix_shape(info), rows, cols, granule);
  return info;
}

std::span<const WeightFormat* const> weight_formats() {
  // Packed forms first: a module that has both them and a plain weight is quantized.
  static const std::array table = {
      &awq_format(),
      &gptq_format(),
      &compressed_tensors_format(),
      &fp4_format(),
      &fp8_format(),
      &bitsandbytes_format(),
      &plain_format(),
      &gguf_format(),
  };
  return table;
}

const WeightFormat& format_of(const Checkpoint& checkpoint, std::string_view prefix) {
  for (const WeightFormat* format : weight_formats())
    if (format->accepts(checkpoint, prefix)) return *format;
  fail_unknown(checkpoint, prefix);
}

QuantMatrix read_matrix(const Checkpoint& checkpoint, std::string_view prefix) {
  const WeightFormat& format = format_of(checkpoint, prefix);
  const Shape shape = format.shape(checkpoint, prefix);
  return format.read(checkpoint, prefix, {0, shape[0]}, {0, shape[1]}, Device::cpu());
}

}  // namespace quern
