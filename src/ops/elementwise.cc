// SPDX-License-Identifier: Apache-2.0
#include "ops/elementwise.h"

#include <algorithm>
#include <cstring>

#include "base/function_ref.h"
#include "ops/dispatch.h"
#include "ops/row_kernels.h"

namespace quern::ops {
namespace {

constexpr int64_t kRun = 16384;  // elements that one call of a kernel gets

using RunKernel = FunctionRef<void(float* x, int64_t n)>;

void in_place(Ctx& ctx, std::string_view op, Tensor& x, RunKernel kernel) {
  QUERN_CHECK(
      is_f32(x) && x.is_contiguous(), "{} of {} {}", op, name_of(x.dtype()), x.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, op, x.dtype());
  float* data = x.data<float>();
  ctx.pool->parallel_for(
      x.numel(), kRun, [&](int64_t begin, int64_t end, int) { kernel(data + begin, end - begin); });
}

// [T, 2F] -> [T, F]: row(gate, up, F, y) for each token.
template <typename Row>
Tensor gated(Ctx& ctx, std::string_view op, const Tensor& gate_up, Row&& row) {
  QUERN_CHECK(
      gate_up.rank() == 2 && gate_up.dim(1) % 2 == 0 && is_f32(gate_up) && gate_up.is_contiguous(),
      "{} of {}",
      op,
      gate_up.shape().text());
  const int64_t size = gate_up.dim(1) / 2;
  Tensor y = ctx.empty({gate_up.dim(0), size});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, op, gate_up.dtype());
  ctx.pool->parallel_for(y.dim(0), row_grain(size), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* gate = gate_up.data<float>() + t * 2 * size;
      row(gate, gate + size, size, y.data<float>() + t * size);
    }
  });
  return y;
}

// For gates that have no kernel of their own with the product.
Tensor gated_in_place(Ctx& ctx,
                      std::string_view op,
                      const Tensor& gate_up,
                      void (*activation)(float* x, int64_t n)) {
  return gated(ctx, op, gate_up, [&](const float* gate, const float* up, int64_t n, float* y) {
    std::copy_n(gate, n, y);
    activation(y, n);
    for (int64_t i = 0; i < n; ++i) y[i] *= up[i];
  });
}

// Bytes of one row of [*, D].
size_t row_bytes(const Tensor& x) {
  return static_cast<size_t>(bytes_of(x.dtype(), x.dim(1)));
}

std::byte* row_of(const Tensor& x, int64_t row) {
  return x.raw() + bytes_of(x.dtype(), row * x.stride(0));
}

// Row `row` of `table` as float32: where it lies, or widened into `widened`.
const float* floats_of(const RowKernels& kernels,
                       const Tensor& table,
                       int64_t row,
                       std::vector<float>& widened) {
  const auto* bytes = row_of(table, row);
  if (table.dtype() == DType::f32) return reinterpret_cast<const float*>(bytes);
  const auto widen = table.dtype() == DType::bf16 ? kernels.widen_bf16 : kernels.widen_f16;
  widen(reinterpret_cast<const uint16_t*>(bytes), table.dim(1), widened.data());
  return widened.data();
}

}  // namespace

void add_(Ctx& ctx, Tensor& x, const Tensor& y) {
  QUERN_CHECK(
      x.shape() == y.shape() && is_f32(x) && is_f32(y) && x.is_contiguous() && y.is_contiguous(),
      "{} += {}",
      x.shape().text(),
      y.shape().text());
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "add_", x.dtype());
  const auto add = row_kernels(ctx.isa).add;
  ctx.pool->parallel_for(x.numel(), kRun, [&](int64_t begin, int64_t end, int) {
    add(x.data<float>() + begin, y.data<float>() + begin, end - begin);
  });
}

Tensor silu_mul(Ctx& ctx, const Tensor& gate_up) {
  return gated(ctx, "silu_mul", gate_up, row_kernels(ctx.isa).silu_mul);
}
Tensor gelu_mul(Ctx& ctx, const Tensor& gate_up) {
  return gated_in_place(ctx, "gelu_mul", gate_up, row_kernels(ctx.isa).gelu);
}
Tensor gelu_tanh_mul(Ctx& ctx, const Tensor& gate_up) {
  return gated_in_place(ctx, "gelu_tanh_mul", gate_up, row_kernels(ctx.isa).gelu_tanh);
}

void silu_(Ctx& ctx, Tensor& x) {
  in_place(ctx, "silu_", x, row_kernels(ctx.isa).silu);
}
void gelu_(Ctx& ctx, Tensor& x) {
  in_place(ctx, "gelu_", x, row_kernels(ctx.isa).gelu);
}
void gelu_tanh_(Ctx& ctx, Tensor& x) {
  in_place(ctx, "gelu_tanh_", x, row_kernels(ctx.isa).gelu_tanh);
}
void quick_gelu_(Ctx& ctx, Tensor& x) {
  in_place(ctx, "quick_gelu_", x, row_kernels(ctx.isa).quick_gelu);
}
void mish_(Ctx& ctx, Tensor& x) {
  in_place(ctx, "mish_", x, row_kernels(ctx.isa).mish);
}
void elu_(Ctx& ctx, Tensor& x) {
  in_place(ctx, "elu_", x, row_kernels(ctx.isa).elu);
}
void leaky_relu_(Ctx& ctx, Tensor& x, float slope) {
  in_place(ctx, "leaky_relu_", x, [slope](float* run, int64_t n) {
    for (int64_t i = 0; i < n; ++i) run[i] = run[i] > 0 ? run[i] : slope * run[i];
  });
}
void scale_(Ctx& ctx, Tensor& x, float factor) {
  in_place(ctx, "scale_", x, [factor](float* run, int64_t n) {
    for (int64_t i = 0; i < n; ++i) run[i] *= factor;
  });
}

Tensor snake(Ctx& ctx, const Tensor& x, const Tensor& alpha, const Tensor& inverse) {
  QUERN_CHECK(x.rank() == 2 && is_f32(x) && x.is_contiguous() && is_f32(alpha) && is_f32(inverse) &&
                  alpha.is_contiguous() && inverse.is_contiguous() &&
                  alpha.shape() == Shape{x.dim(1)} && inverse.shape() == alpha.shape(),
              "x {}, alpha {}, inverse {}",
              x.shape().text(),
              alpha.shape().text(),
              inverse.shape().text());
  Tensor y = ctx.empty(x.shape());
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "snake", x.dtype());
  const auto kernel = row_kernels(ctx.isa).snake;
  const int64_t size = x.dim(1);
  ctx.pool->parallel_for(x.dim(0), row_grain(size), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      kernel(x.data<float>() + t * size,
             alpha.data<float>(),
             inverse.data<float>(),
             size,
             y.data<float>() + t * size);
  });
  return y;
}

Tensor gather_rows(Ctx& ctx, const Tensor& x, std::span<const int32_t> rows) {
  QUERN_CHECK(x.rank() == 2 && (x.dim(1) <= 1 || x.stride(1) == 1), "{}", x.shape().text());
  Tensor y = ctx.empty({static_cast<int64_t>(rows.size()), x.dim(1)}, x.dtype());
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "gather_rows", x.dtype());
  ctx.pool->parallel_for(y.dim(0), row_grain(x.dim(1)), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t row = rows[static_cast<size_t>(i)];
      QUERN_CHECK(row >= 0 && row < x.dim(0), "row {} of {}", row, x.dim(0));
      if (y.dim(1) > 0) std::memcpy(row_of(y, i), row_of(x, row), row_bytes(x));
    }
  });
  return y;
}

Tensor gather_columns(Ctx& ctx, const Tensor& x, std::span<const int32_t> columns) {
  QUERN_CHECK(x.rank() == 2 && x.stride(1) == 1, "{}", x.shape().text());
  Tensor y = ctx.empty({x.dim(0), static_cast<int64_t>(columns.size())});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "gather_columns", x.dtype());
  ctx.pool->parallel_for(y.dim(0), row_grain(y.dim(1)), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* from = x.data<float>() + t * x.stride(0);
      float* to = y.data<float>() + t * y.dim(1);
      for (const int32_t c : columns) {
        QUERN_DCHECK(c < x.dim(1));
        *to++ = c < 0 ? 0.0f : from[c];
      }
    }
  });
  return y;
}

Tensor mix_rows(Ctx& ctx, const Tensor& table, const RowMix& mix) {
  const bool is_float =
      is_f32(table) || table.dtype() == DType::bf16 || table.dtype() == DType::f16;
  QUERN_CHECK(table.rank() == 2 && is_float && (table.dim(1) <= 1 || table.stride(1) == 1),
              "{} {}",
              name_of(table.dtype()),
              table.shape().text());
  QUERN_CHECK(mix.taps >= 1 && mix.rows.size() == mix.weights.size() &&
                  mix.rows.size() % static_cast<size_t>(mix.taps) == 0,
              "{} rows, {} weights, {} taps",
              mix.rows.size(),
              mix.weights.size(),
              mix.taps);
  const int64_t width = table.dim(1);
  Tensor y = ctx.empty({static_cast<int64_t>(mix.rows.size()) / mix.taps, width});
  if (ctx.device.is_meta()) return y;
  require_cpu(ctx, "mix_rows", table.dtype());
  const RowKernels& kernels = row_kernels(ctx.isa);
  ctx.pool->parallel_for(
      y.dim(0), row_grain(width * mix.taps), [&](int64_t begin, int64_t end, int) {
        std::vector<float> widened(static_cast<size_t>(width));
        for (int64_t i = begin; i < end; ++i) {
          float* sum = y.data<float>() + i * width;
          std::fill_n(sum, width, 0.0f);
          for (int64_t j = i * mix.taps; j < (i + 1) * mix.taps; ++j) {
            const int32_t row = mix.rows[static_cast<size_t>(j)];
            QUERN_CHECK(row >= 0 && row < table.dim(0), "row {} of {}", row, table.dim(0));
            kernels.add_scaled(sum,
                               floats_of(kernels, table, row, widened),
                               mix.weights[static_cast<size_t>(j)],
                               width);
          }
        }
      });
  return y;
}

void copy_rows_(Ctx& ctx, Tensor& x, int64_t first_row, const Tensor& source) {
  QUERN_CHECK(x.rank() == 2 && source.rank() == 2 && x.dim(1) == source.dim(1) &&
                  x.dtype() == source.dtype() && first_row >= 0 &&
                  first_row + source.dim(0) <= x.dim(0),
              "rows of {} into {} at {}",
              source.shape().text(),
              x.shape().text(),
              first_row);
  QUERN_CHECK(x.dim(1) <= 1 || (x.stride(1) == 1 && source.stride(1) == 1));
  if (ctx.device.is_meta()) return;
  require_cpu(ctx, "copy_rows_", x.dtype());
  if (x.dim(1) == 0) return;
  for (int64_t i = 0; i < source.dim(0); ++i)
    std::memcpy(row_of(x, first_row + i), row_of(source, i), row_bytes(x));
}

}  // namespace quern::ops
