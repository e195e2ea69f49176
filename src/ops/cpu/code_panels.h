// SPDX-License-Identifier: Apache-2.0
// CodePanels: codes, scales and offsets of a stacked weight, laid out as they will be read:
//
//   panel:  block 0 | block 1 | ...            64 columns, all of K
//   block:  scales | second-level scales | minimums | ... | codes of up to kCodeBlock inputs
//
// The numbers of a block lie before its codes rather than in arrays of their own, so that decoding
// is one stream from memory. Codes are in steps of all columns (codes.h) or in tiles
// (table_codes.h).
#pragma once

#include <vector>

#include "base/function_ref.h"
#include "ops/code_spec.h"
#include "ops/cpu/codes.h"
#include "tensor/ctx.h"
#include "tensor/shard.h"

namespace quern::ops::cpu {

// One number for each column and each `groups` groups, as lines of kCodePanel numbers in every
// block.
struct CodeLines {
  DType dtype = DType::f32;
  int64_t groups = 0;             // under one line; 0: there are no such numbers
  int64_t offset = 0, count = 0;  // bytes into the block; lines in it

  bool is_present() const { return groups > 0; }
  int64_t line_bytes() const { return bytes_of(dtype, kCodePanel); }
  int64_t bytes() const { return count * line_bytes(); }
};

enum class CodeOrder : uint8_t { steps, tiles };

class CodePanels {
 public:
  CodePanels(const CodeSpec& spec,
             int64_t rows,
             int64_t cols,
             Device device,
             CodeOrder order = CodeOrder::steps);

  int64_t panels() const { return data_.dim(0); }
  int64_t groups() const { return groups_; }              // in a row
  int64_t block_groups() const { return block_groups_; }  // in a block but the last
  int64_t blocks() const { return blocks_; }
  int64_t bytes() const { return data_.bytes(); }
  CodeOrder order() const { return order_; }

  // The groups of a block.
  Range range(int64_t block) const {
    return {block * block_groups_, std::min(groups_, (block + 1) * block_groups_)};
  }
  std::byte* block(int64_t panel, int64_t block) const {
    return data_.raw() + panel * data_.dim(1) +
           block * (header_bytes_ + block_groups_ * group_bytes_);
  }
  std::byte* codes(int64_t panel, int64_t block) const {
    return this->block(panel, block) + header_bytes_;
  }
  // The line of group g, which lies in that block.
  std::byte* line(const CodeLines& lines, int64_t panel, int64_t block, int64_t g) const {
    const int64_t first = block * block_groups_ / lines.groups;
    return this->block(panel, block) + lines.offset +
           (g / lines.groups - first) * lines.line_bytes();
  }

  void each_tensor(FunctionRef<void(Tensor&)> visit);
  // Looks whether any zero point lies off the centre; where none does, there is nothing to
  // subtract.
  void note_zeros();
  bool has_zeros() const { return zeros.is_present() && *any_zero_.data<uint8_t>() != 0; }

  CodeLines scales, super_scales, minimums, super_minimums;
  CodeLines zeros;  // how far below the centre the zero point lies: i8, or bf16 for codes of 8 bits

 private:
  void add_lines(CodeLines& lines, DType dtype, int64_t groups);

  CodeOrder order_;
  int64_t groups_, block_groups_, blocks_, group_bytes_, header_bytes_ = 0;
  Tensor data_;      // u8 [panels, bytes of a panel]
  Tensor any_zero_;  // u8 [1]: what note_zeros() found
};

// The lines of a block's groups as float32, one after the other in `out`, each times its
// second-level line if there are any.
void widen_block(const CodeRowKernels& kernels,
                 const CodePanels& panels,
                 const CodeLines& lines,
                 const CodeLines& super,
                 int64_t panel,
                 int64_t block,
                 float* out);

// Fills all panels from the stacked rows of `parts`, in parallel. Throws data_loss for a weight
// that is NaN and for a zero point that is no whole number near the codes.
void pack_panels(const Ctx& ctx,
                 const std::vector<QuantMatrix>& parts,
                 const CodeSpec& spec,
                 CodePanels& out);

}  // namespace quern::ops::cpu
