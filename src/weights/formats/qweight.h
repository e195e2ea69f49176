// SPDX-License-Identifier: Apache-2.0
// What AWQ and GPTQ share: the tensors qweight, qzeros, scales and g_idx under a prefix, which of
// the layouts they have, and their grids of scales and zero points. Private to the room.
#pragma once

#include <string>
#include <string_view>

#include "weights/formats/packed_words.h"
#include "weights/quantization_config.h"
#include "weights/weight_format.h"

namespace quern {

// The layouts of qweight, each told by its shapes beside those of scales and qzeros:
//                 qweight             scales        qzeros
//   gptq          i32 [K b/32, N]     [G, N]        i32 [G, N b/32]
//   awq_gemm      i32 [K, N/8]        [G, N]        i32 [G, N/8]
//   awq_gemv      i32 [N, K/8]        [N, 8 zw]     i32 [N, zw]       zw words of groups, padded
//   awq_fast      i16 [N/4, K]        [8 zw, N]     f16 [8 zw, N]
enum class QweightLayout : uint8_t { none, gptq, awq_gemm, awq_gemv, awq_fast };

// Never throws for what the tensors hold: what fits no layout is taken for what the config states.
QweightLayout qweight_layout(const Checkpoint& checkpoint, std::string_view prefix);

// A view of one linear layer's tensors by their last names.
class QweightTensors {
 public:
  QweightTensors(const Checkpoint& checkpoint, std::string_view prefix)
      : checkpoint_(checkpoint), prefix_(prefix) {}

  const std::string& prefix() const { return prefix_; }
  bool has(std::string_view part) const { return checkpoint_.has(name_of(part)); }
  std::string name_of(std::string_view part) const;
  // Throws data_loss where the tensor is missing, has another rank, is empty, or is stored
  // otherwise than `expected` says ("i32", or "float": f16, bf16 or f32).
  const TensorInfo& info(std::string_view part, std::string_view expected, int rank) const;
  void expect_shape(std::string_view part, const Shape& shape, std::string_view why) const;
  Tensor read(std::string_view part) const { return read_tensor(checkpoint_, name_of(part)); }
  WordTable words(std::string_view part) const;  // of a tensor of i32 and two axes, in place

  // A grid stored [G, N] or [N, G], as QuantMatrix wants it: [rows, groups]. Throws data_loss for a
  // scale that is infinite or no number.
  enum class Order : uint8_t { by_group, by_row };
  Tensor scales(Order stored, Range rows, Range groups) const;

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;
};

// How K is cut into groups: `count` groups of `size`, the last of which may be shorter.
struct Groups {
  int64_t size = 0, count = 0;
  // The groups that columns [begin, end) touch.
  Range of(Range cols) const { return {cols.begin / size, (cols.end + size - 1) / size}; }
};
// From the number of stored groups and what the config states. Throws data_loss where both do not
// agree.
Groups groups_of(std::string_view prefix, int64_t k, int64_t count, const ModuleScheme& scheme);

// Throws unsupported for layouts that tools make for one device's kernels (marlin, exllama, …), by
// name.
void refuse_runtime_layouts(const QuantizationConfig& config, std::string_view prefix);

// Warns where the config says that the layer is not quantized, or by another method: the files win.
void warn_of_disagreement(const QuantizationConfig& config,
                          std::string_view prefix,
                          std::string_view method);

// Warns where AutoAWQ's config does not exclude a linear layer that is stored plain (the output
// matrix apart, which AutoAWQ never quantizes): the files win.
void warn_if_awq_lists_it(const QuantizationConfig& config, std::string_view prefix);

// Zero points stored [G, N] as bytes, to [N, G].
Tensor transposed_bytes(const Tensor& grid);

}  // namespace quern
