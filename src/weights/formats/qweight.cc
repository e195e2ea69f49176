// SPDX-License-Identifier: Apache-2.0
#include "weights/formats/qweight.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "weights/formats/compressed_targets.h"

namespace quern {
namespace {

bool fits_gptq(const Shape& qweight, const Shape& scales) {
  return scales[1] == qweight[1];
}

bool fits_gemm(const Shape& qweight, const Shape& scales) {
  return qweight[1] > 0 && scales[1] / 8 == qweight[1] && scales[1] % 8 == 0;
}

bool fits_gemv(const Shape& qweight, const Shape& scales, const TensorInfo* qzeros) {
  return scales[0] == qweight[0] && qzeros != nullptr && qzeros->shape.rank() == 2 &&
         qzeros->shape[0] == qweight[0] && scales[1] / 8 == qzeros->shape[1] && scales[1] % 8 == 0;
}

bool is_awq_gemv(const QuantizationConfig& config) {
  return config.version() == "gemv";
}

QweightLayout stated_layout(const QuantizationConfig& config) {
  if (config.method() != "awq") return QweightLayout::gptq;
  return is_awq_gemv(config) ? QweightLayout::awq_gemv : QweightLayout::awq_gemm;
}

bool is_float(Stored stored) {
  return stored == Stored::f16 || stored == Stored::bf16 || stored == Stored::f32;
}

// An exponent of ones: infinite, or no number.
bool is_finite(uint16_t bits, DType dtype) {
  const uint16_t exponent = dtype == DType::f16 ? 0x7c00 : 0x7f80;
  return (bits & exponent) != exponent;
}
bool is_finite(uint32_t bits, DType) {
  return (bits & 0x7f800000) != 0x7f800000;
}

// out[r, g] = in[g, r] (or in[r, g]) over the ranges, in tiles; the index of the first element that
// is not finite, or -1.
template <typename T>
int64_t copy_grid(const Tensor& in, bool by_row, Range rows, Range groups, const Tensor& out) {
  constexpr int64_t kTile = 32;
  const int64_t row_step = by_row ? in.dim(1) : 1, group_step = by_row ? 1 : in.dim(1);
  int64_t bad = -1;
  for (int64_t r0 = rows.begin; r0 < rows.end; r0 += kTile)
    for (int64_t g = groups.begin; g < groups.end; ++g)
      for (int64_t r = r0; r < std::min(r0 + kTile, rows.end); ++r) {
        const int64_t at = r * row_step + g * group_step;
        const T value = in.data<T>()[at];
        if (!is_finite(value, in.dtype())) bad = at;
        out.data<T>()[(r - rows.begin) * groups.size() + g - groups.begin] = value;
      }
  return bad;
}

}  // namespace

QweightLayout qweight_layout(const Checkpoint& checkpoint, std::string_view prefix) {
  const TensorInfo* qweight = checkpoint.find(format("{}.qweight", prefix));
  if (qweight == nullptr) return QweightLayout::none;
  if (qweight->stored == Stored::i16) return QweightLayout::awq_fast;
  const QuantizationConfig& config = checkpoint.quantization();
  const QweightLayout stated = stated_layout(config);
  const TensorInfo* scales = checkpoint.find(format("{}.scales", prefix));
  if (scales == nullptr || scales->shape.rank() != 2 || qweight->shape.rank() != 2) return stated;
  const TensorInfo* qzeros = checkpoint.find(format("{}.qzeros", prefix));
  const bool gptq = fits_gptq(qweight->shape, scales->shape),
             gemm = fits_gemm(qweight->shape, scales->shape),
             gemv = fits_gemv(qweight->shape, scales->shape, qzeros);
  if (stated == QweightLayout::gptq && gptq) return stated;
  if (is_awq_gemv(config) && gemv) return QweightLayout::awq_gemv;
  if (gemm) return QweightLayout::awq_gemm;
  if (gemv) return QweightLayout::awq_gemv;
  return gptq ? QweightLayout::gptq : stated;
}

std::string QweightTensors::name_of(std::string_view part) const {
  return format("{}.{}", prefix_, part);
}

const TensorInfo& QweightTensors::info(std::string_view part,
                                       std::string_view expected,
                                       int rank) const {
  const std::string name = name_of(part);
  const TensorInfo* found = checkpoint_.find(name);
  if (found == nullptr)
    fail(ErrorCode::data_loss,
         "{}: expected beside {}, found none: is the checkpoint complete?",
         name,
         name_of("qweight"));
  const bool is_right =
      expected == "float" ? is_float(found->stored) : quern::name_of(found->stored) == expected;
  if (!is_right || found->shape.rank() != rank || found->shape.numel() == 0)
    fail(ErrorCode::data_loss,
         "{}: expected {} of {} axes, none of them empty, got {} {}",
         name,
         expected == "float" ? "f16, bf16 or f32" : expected,
         rank,
         quern::name_of(found->stored),
         found->shape.text());
  return *found;
}

void QweightTensors::expect_shape(std::string_view part,
                                  const Shape& shape,
                                  std::string_view why) const {
  const Shape& stored = checkpoint_.info(name_of(part)).shape;
  if (stored == shape) return;
  fail(ErrorCode::data_loss,
       "{}: expected {} by {}, got {}; the tensors do not belong together, or quantization_config "
       "is another checkpoint's",
       name_of(part),
       shape.text(),
       why,
       stored.text());
}

WordTable QweightTensors::words(std::string_view part) const {
  const Shape& shape = info(part, "i32", 2).shape;
  return {checkpoint_.bytes(name_of(part)).data(), shape[0], shape[1]};
}

Tensor QweightTensors::scales(Order stored, Range rows, Range groups) const {
  const Tensor in = read("scales");
  Tensor out = Tensor::empty({rows.size(), groups.size()}, in.dtype());
  const bool by_row = stored == Order::by_row;
  const int64_t bad = in.dtype() == DType::f32 ? copy_grid<uint32_t>(in, by_row, rows, groups, out)
                                               : copy_grid<uint16_t>(in, by_row, rows, groups, out);
  if (bad >= 0)
    fail(ErrorCode::data_loss,
         "{}: expected finite numbers, got {} at [{}, {}]: the file is damaged, or its "
         "quantization overflowed",
         name_of("scales"),
         to_f32(in.reshape({in.numel()}).slice(0, bad, bad + 1)).data<float>()[0],
         bad / in.dim(1),
         bad % in.dim(1));
  return out;
}

Groups groups_of(std::string_view prefix, int64_t k, int64_t count, const ModuleScheme& scheme) {
  const int64_t stated = scheme.group_size.value_or(0);
  const int64_t size = stated == -1 || stated > k ? k : stated;
  if (size == 0) {
    if (k % count != 0)
      fail(ErrorCode::data_loss,
           "{}.scales: {} groups do not divide K = {}, and no group_size is stated: add it to "
           "quantization_config",
           prefix,
           count,
           k);
    return {k / count, count};
  }
  if ((k - 1) / size + 1 != count)
    fail(ErrorCode::data_loss,
         "{}.scales: expected {} groups by group_size {} over K = {}, got {}: quantization_config "
         "is another checkpoint's, or one of them was padded or cut",
         prefix,
         (k - 1) / size + 1,
         stated,
         k,
         count);
  return {size, count};
}

void refuse_runtime_layouts(const QuantizationConfig& config, std::string_view prefix) {
  static constexpr std::array<std::string_view, 6> kRuntime = {
      "marlin", "exllama", "exllamav2", "bitblas", "gptq_p", "qqq"};
  for (const std::string& stated : {config.method(), config.version(), config.checkpoint_format()})
    if (std::ranges::find(kRuntime, stated) != kRuntime.end())
      fail(ErrorCode::unsupported,
           "{}: {}: stored as \"{}\", a layout made for one kernel: this build reads AWQ's gemm, "
           "gemv and gemv_fast and GPTQ's gptq and gptq_v2; take the checkpoint it was made from, "
           "or save it again in one of these",
           prefix,
           config.fields().path(),
           stated);
  const std::string word = config.fields().string_or("pack_dtype", "int32");
  if (word != "int32")
    fail(ErrorCode::unsupported,
         "{}: {}: pack_dtype {}: this build reads words of int32; save the checkpoint so",
         prefix,
         config.fields().path(),
         word);
}

void warn_of_disagreement(const QuantizationConfig& config,
                          std::string_view prefix,
                          std::string_view method) {
  if (config.is_not_converted(prefix) || config.scheme_of(prefix).is_excluded)
    log(LogLevel::warn,
        "weights module={} event=\"quantized in the file, excluded by quantization_config: the "
        "file wins\"",
        prefix);
  if (config.is_stated() && config.method() != method)
    log(LogLevel::warn,
        "weights module={} event=\"stored as {}, quantization_config says {}: the file wins\"",
        prefix,
        method,
        config.method());
}

void warn_if_awq_lists_it(const QuantizationConfig& config, std::string_view prefix) {
  if (config.method() != "awq" || !is_linear_name(prefix) || prefix.ends_with("lm_head")) return;
  if (config.is_not_converted(prefix) || config.scheme_of(prefix).is_excluded) return;
  log(LogLevel::warn,
      "weights module={} event=\"plain in the file, quantized by modules_to_not_convert, which "
      "does "
      "not name it: the file wins\"",
      prefix);
}

Tensor transposed_bytes(const Tensor& grid) {
  const int64_t groups = grid.dim(0), rows = grid.dim(1);
  Tensor out = Tensor::empty({rows, groups}, grid.dtype());
  constexpr int64_t kTile = 64;
  for (int64_t r0 = 0; r0 < rows; r0 += kTile)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t r = r0; r < std::min(r0 + kTile, rows); ++r)
        out.data<uint8_t>()[r * groups + g] = grid.data<uint8_t>()[g * rows + r];
  return out;
}

}  // namespace quern
