// SPDX-License-Identifier: Apache-2.0
// CodePanels: codes, scales and offsets of a stacked weight in the order of cpu/codes.h.
#pragma once

#include <vector>

#include "base/function_ref.h"
#include "ops/code_spec.h"

namespace quern::ops::cpu {

// One number for each column and each `groups` groups: [panels, lines, kCodePanel]. Undefined:
// none.
struct CodeLines {
  Tensor data;
  int64_t groups = 1;

  const std::byte* at(int64_t panel, int64_t group) const {
    return data.raw() + bytes_of(data.dtype(), (panel * data.dim(1) + group / groups) * kCodePanel);
  }
};

struct CodePanels {
  CodePanels(const CodeSpec& spec, int64_t rows, int64_t cols, Device device);

  int64_t bytes() const;
  void each_tensor(FunctionRef<void(Tensor&)> visit);
  // Looks whether any zero point lies off the centre; where none does, there is nothing to
  // subtract.
  void note_zeros();
  bool has_zeros() const { return zeros.data.defined() && *any_zero.data<uint8_t>() != 0; }

  int64_t panels, groups;  // groups in a row
  Tensor codes;            // u8 [panels, groups * group / kCodeStep, bytes of a step]
  CodeLines scales, super_scales, minimums, super_minimums;
  Tensor any_zero;  // u8 [1]: what note_zeros() found
  CodeLines zeros;  // how far below the centre the zero point lies: i8, or bf16 for codes of 8 bits
};

enum class PackFault : uint8_t { none, not_a_number, zero_point };

// Fills columns of panel `panel` from the stacked rows of `parts`. Says what was wrong with them,
// if anything was: a weight that is NaN, a zero point that is no whole number near the codes.
PackFault pack_panel(const std::vector<QuantMatrix>& parts,
                     const CodeSpec& spec,
                     int64_t panel,
                     CodePanels& out);

}  // namespace quern::ops::cpu
