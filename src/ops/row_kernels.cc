// SPDX-License-Identifier: Apache-2.0
#include "ops/row_kernels.h"

#include "ops/cpu/kernels.h"
#include "ops/reference/reference.h"

namespace quern::ops {

const RowKernels& row_kernels(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return reference::row_kernels();
    case Isa::avx2:
      return cpu::kRowsAvx2;
    case Isa::avx512:
    case Isa::avx512_vnni:
    case Isa::avx512_bf16:
    case Isa::amx:
      break;
  }
  return cpu::kRowsAvx512;
}

}  // namespace quern::ops
