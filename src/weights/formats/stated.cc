// SPDX-License-Identifier: Apache-2.0
#include "weights/formats/stated.h"

#include "base/error.h"
#include "weights/formats/compressed_targets.h"

namespace quern {
namespace {

// One form of weight, as far as sizes go.
struct Form {
  int bits = 0;            // of a code; 0: floats of the stated type
  bool is_float8 = false;  // e4m3
  bool has_zeros = false;
  int64_t block_rows = 1, group = 0;  // 0: all of K
  int64_t row_granule = 1;
  bool is_scattered = false;
  DType scale = DType::f16;
};

// The type in the older or the newer spelling.
DType stated_dtype(const Config& config) {
  const std::string name = config.string_or("torch_dtype", config.string_or("dtype", "bfloat16"));
  if (name == "float32") return DType::f32;
  return name == "float16" ? DType::f16 : DType::bf16;
}

// AWQ and GPTQ quantize the linear layers of the decoder: no tower, table or output matrix.
bool is_decoder_linear(std::string_view prefix) {
  return prefix.find("model.layers.") != std::string_view::npos &&
         prefix.find("visual") == std::string_view::npos;
}

Form weight_only_form(const QuantizationConfig& q, std::string_view prefix) {
  const ModuleScheme scheme = q.scheme_of(prefix);
  if (scheme.is_excluded) return {};
  const bool is_awq = q.method() == "awq";
  const int64_t group = scheme.group_size.value_or(128);
  return {.bits = scheme.bits.value_or(4),
          .has_zeros = !scheme.symmetric.value_or(!is_awq),
          .group = group < 0 ? 0 : group,
          .row_granule = is_awq ? 8 : 1,
          .is_scattered = !is_awq && scheme.desc_act.value_or(false)};
}

Form float8_form(const QuantizationConfig& q) {
  Form out{.bits = 8, .is_float8 = true, .block_rows = 0, .scale = DType::f32};
  if (!q.fields().has("weight_block_size")) return out;
  const std::vector<int64_t> block = q.fields().integers("weight_block_size");
  if (block.size() != 2 || block[0] < 1 || block[1] < 1)
    fail(ErrorCode::data_loss, "{}: weight_block_size: expected two sizes", q.fields().path());
  out.block_rows = block[0];
  out.group = block[1];
  return out;
}

Form compressed_form(const CompressedTargets& targets, std::string_view prefix) {
  const CompressedScheme* scheme = targets.scheme_of(prefix);
  if (scheme == nullptr) return {};
  Form out{.bits = scheme->bits.value_or(8),
           .is_float8 = scheme->is_float,
           .is_scattered = scheme->has_column_order,
           .scale = DType::bf16};
  if (scheme->block) out.block_rows = scheme->block->rows, out.group = scheme->block->cols;
  return out;
}

Form form_of(const Checkpoint& checkpoint, std::string_view prefix) {
  const QuantizationConfig& q = checkpoint.quantization();
  if (!q.is_stated() || q.is_not_converted(prefix)) return {};
  if (q.compressed() != nullptr) return compressed_form(*q.compressed(), prefix);
  if (!is_decoder_linear(prefix)) return {};
  if (q.method() == "awq" || q.method() == "gptq") return weight_only_form(q, prefix);
  if (q.method() == "fp8") return float8_form(q);
  if (q.method() == "bitsandbytes")
    return q.fields().boolean_or("load_in_4bit", false)
               ? Form{.bits = 4, .group = 64, .scale = DType::f32}
               : Form{.bits = 8, .scale = DType::f32};
  fail(ErrorCode::unsupported,
       "{}: quant_method {}: its sizes are not known by the config alone; give the folder with its "
       "weights, or name --quantization awq, gptq, gptq-int8 or fp8",
       q.fields().path(),
       q.method());
}

int64_t cells(int64_t length, int64_t block) {
  return block <= 0 ? 1 : (length + block - 1) / block;
}

}  // namespace

QuantMatrix stated_floats(const Checkpoint& checkpoint, const Shape& part) {
  const DType dtype = stated_dtype(checkpoint.config());
  QuantMatrix out;
  out.codes = Tensor::empty(part, dtype, Device::meta());
  out.code_bits = bits_of(dtype);
  return out;
}

QuantMatrix stated_matrix(const Checkpoint& checkpoint,
                          std::string_view prefix,
                          const Shape& part,
                          int64_t whole_cols) {
  const Form form = form_of(checkpoint, prefix);
  const Device meta = Device::meta();
  if (form.bits == 0) return stated_floats(checkpoint, part);
  QuantMatrix out;
  const bool is_one_group = form.group == 0 || form.group >= whole_cols;
  out.coding = form.is_float8 ? Coding::plain : Coding::integer;
  out.code_bits = form.bits;
  out.codes = Tensor::empty(part,
                            form.is_float8   ? DType::f8_e4m3
                            : form.has_zeros ? DType::u8
                                             : DType::i8,
                            meta);
  out.block_rows = form.block_rows;
  out.block_cols = is_one_group ? 0 : form.group;
  const Shape grid{cells(part[0], out.block_rows), cells(part[1], out.block_cols)};
  out.scales = Tensor::empty(grid, form.scale, meta);
  if (!form.has_zeros) return out;
  out.offset = Offset::zero_point;
  out.zeros = Tensor::empty(grid, DType::u8, meta);
  return out;
}

Granule stated_granule(const Checkpoint& checkpoint, std::string_view prefix) {
  const Form form = form_of(checkpoint, prefix);
  if (form.bits == 0) return {};
  const int64_t group = std::max<int64_t>(form.group, 1);
  const int64_t rows = std::max<int64_t>(form.block_rows, form.row_granule);
  return {rows, group, form.is_scattered && form.group > 0 ? group : 0};
}

}  // namespace quern
