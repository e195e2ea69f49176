// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul.h"

#include <cstring>

#include "ops/cpu/matmul.h"
#include "ops/dispatch.h"
#include "ops/pack.h"
#include "ops/reference/reference.h"
#include "ops/row_kernels.h"

namespace quern::ops {
namespace {

using Pack = std::unique_ptr<PackedWeight> (*)(const Ctx& ctx,
                                               const std::vector<QuantMatrix>& parts,
                                               DType storage);

// One line per kernel family of the CPU, best first; the first that the tier allows takes the
// weight.
struct CpuLine {
  Isa from;
  Pack pack;
};
constexpr CpuLine kCpuTable[] = {
    {Isa::avx2, cpu::pack_weight},
    {Isa::scalar, reference::pack_weight},
};

void copy_embedding_row(const RowKernels& kernels, const Tensor& table, int64_t row, float* out) {
  const int64_t size = table.dim(1);
  const std::byte* source = table.raw() + bytes_of(table.dtype(), row * table.stride(0));
  switch (table.dtype()) {
    case DType::f32:
      std::memcpy(out, source, static_cast<size_t>(size) * sizeof(float));
      return;
    case DType::bf16:
      kernels.widen_bf16(reinterpret_cast<const uint16_t*>(source), size, out);
      return;
    case DType::f16:
      kernels.widen_f16(reinterpret_cast<const uint16_t*>(source), size, out);
      return;
    default:
      QUERN_CHECK(false, "a table of {} elements", name_of(table.dtype()));
  }
}

}  // namespace

std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx, std::vector<QuantMatrix> parts) {
  QUERN_CHECK(!parts.empty());
  for (const QuantMatrix& part : parts)
    QUERN_CHECK(part.codes.rank() == 2 && part.cols() == parts[0].cols(),
                "{} beside {}",
                part.codes.shape().text(),
                parts[0].codes.shape().text());
  if (!ctx.device.is_meta()) require_cpu(ctx, "pack_weight", parts[0].codes.dtype());
  const DType storage = storage_of(parts, ctx.activation);
  for (const CpuLine& line : kCpuTable)
    if (ctx.isa >= line.from) return line.pack(ctx, parts, storage);
  fail(ErrorCode::internal, "pack_weight: no kernel for tier {}", name_of(ctx.isa));
}

Tensor matmul(Ctx& ctx, const Tensor& x, const PackedWeight& w, const Tensor& bias) {
  QUERN_CHECK(
      x.rank() == 2 && x.dim(1) == w.cols() && is_f32(x) && (x.dim(1) <= 1 || x.stride(1) == 1),
      "x {}, weight [{}, {}]",
      x.shape().text(),
      w.rows(),
      w.cols());
  QUERN_CHECK(!bias.defined() || (bias.rank() == 1 && bias.dim(0) == w.rows() && is_f32(bias) &&
                                  bias.is_contiguous()),
              "bias {}, weight [{}, {}]",
              bias.shape().text(),
              w.rows(),
              w.cols());
  QUERN_CHECK(w.device() == ctx.device,
              "a weight packed for {} used on {}",
              w.device().text(),
              ctx.device.text());
  x_dtype(ctx.activation);  // an unsupported kind is said before anything is computed
  const Tensor y = ctx.empty({x.dim(0), w.rows()});
  if (y.numel() > 0) w.multiply(ctx, x, bias, y);
  return y;
}

Tensor embedding(Ctx& ctx, std::span<const int32_t> ids, const Tensor& table) {
  QUERN_CHECK(table.rank() == 2 && (table.dim(1) <= 1 || table.stride(1) == 1),
              "table {}",
              table.shape().text());
  Tensor y = ctx.empty({static_cast<int64_t>(ids.size()), table.dim(1)});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "embedding", table.dtype());
  const RowKernels& kernels = row_kernels(ctx.isa);
  ctx.pool->parallel_for(y.dim(0), row_grain(table.dim(1)), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const int32_t id = ids[static_cast<size_t>(t)];
      QUERN_CHECK(id >= 0 && id < table.dim(0), "id {} in a table of {}", id, table.dim(0));
      copy_embedding_row(kernels, table, id, y.data<float>() + t * table.dim(1));
    }
  });
  return y;
}

}  // namespace quern::ops
