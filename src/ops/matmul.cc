// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul.h"

#include <algorithm>
#include <cstring>

#include "ops/code_spec.h"
#include "ops/cpu/code_weight.h"
#include "ops/cpu/matmul.h"
#include "ops/cpu/table_weight.h"
#include "ops/dispatch.h"
#include "ops/elementwise.h"
#include "ops/pack.h"
#include "ops/reference/reference.h"
#include "ops/row_kernels.h"

namespace quern::ops {
namespace {

// Parts that one kernel takes together.
struct Segment {
  std::vector<QuantMatrix> parts;
  std::optional<CodeSpec> spec;  // kept as codes; else as floats
};

// One line per kernel family of the CPU, best first; the first that the tier allows and that
// accepts the segment takes it.
struct CpuLine {
  Isa from;
  bool (*accepts)(const Segment& segment);
  std::unique_ptr<PackedWeight> (*pack)(const Ctx& ctx, const Segment& segment);
};
constexpr CpuLine kCpuTable[] = {
    {Isa::amx,
     [](const Segment& s) { return s.spec && s.spec->is_looked_up; },
     [](const Ctx& ctx, const Segment& s) { return cpu::pack_table(ctx, s.parts, *s.spec); }},
    {Isa::avx2,
     [](const Segment& s) { return s.spec.has_value(); },
     [](const Ctx& ctx, const Segment& s) { return cpu::pack_codes(ctx, s.parts, *s.spec); }},
    {Isa::avx2,
     [](const Segment&) { return true; },
     [](const Ctx& ctx, const Segment& s) {
       return cpu::pack_weight(ctx, s.parts, storage_of(s.parts, ctx.activation));
     }},
    {Isa::scalar,
     [](const Segment&) { return true; },
     [](const Ctx& ctx, const Segment& s) { return reference::pack_weight(ctx, s.parts, s.spec); }},
};

std::unique_ptr<PackedWeight> pack_segment(const Ctx& ctx, const Segment& segment) {
  for (const CpuLine& line : kCpuTable)
    if (ctx.isa >= line.from && line.accepts(segment)) return line.pack(ctx, segment);
  fail(ErrorCode::internal, "pack_weight: no kernel for tier {}", name_of(ctx.isa));
}

// Parts of one kind that follow each other become one segment.
std::vector<Segment> segments_of(const Ctx& ctx, std::vector<QuantMatrix> parts) {
  std::vector<Segment> out;
  for (QuantMatrix& part : parts) {
    std::optional<CodeSpec> spec = code_spec(part, ctx.activation, ctx.isa);
    if (out.empty() || out.back().spec != spec) out.push_back({{}, std::move(spec)});
    out.back().parts.push_back(std::move(part));
  }
  return out;
}

// Weights that were packed apart, stacked: each fills its columns of y.
class StackedWeight final : public PackedWeight {
 public:
  StackedWeight(Device device, std::vector<std::unique_ptr<PackedWeight>> parts)
      : PackedWeight(device), parts_(std::move(parts)) {}

  int64_t rows() const override { return total(&PackedWeight::rows); }
  int64_t cols() const override { return parts_[0]->cols(); }
  int64_t bytes() const override { return total(&PackedWeight::bytes); }
  std::string kernel() const override {
    std::vector<std::string> names;
    for (const auto& part : parts_)
      if (std::string name = part->kernel(); std::ranges::find(names, name) == names.end())
        names.push_back(std::move(name));
    std::string out;
    for (const std::string& name : names) out += (out.empty() ? "" : " + ") + name;
    return out;
  }
  void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const override {
    int64_t at = 0;
    for (const auto& part : parts_) {
      const int64_t end = at + part->rows();
      if (end > at)
        part->multiply(ctx, x, bias.defined() ? bias.slice(0, at, end) : bias, y.slice(1, at, end));
      at = end;
    }
  }
  void each_tensor(FunctionRef<void(Tensor&)> visit) override {
    for (const auto& part : parts_) part->each_tensor(visit);
  }

 private:
  int64_t total(int64_t (PackedWeight::*of)() const) const {
    int64_t sum = 0;
    for (const auto& part : parts_) sum += (part.get()->*of)();
    return sum;
  }

  std::vector<std::unique_ptr<PackedWeight>> parts_;
};

void check_product(const Ctx& ctx, const Tensor& x, const PackedWeight& w) {
  QUERN_CHECK(
      x.rank() == 2 && x.dim(1) == w.cols() && is_f32(x) && (x.dim(1) <= 1 || x.stride(1) == 1),
      "x {}, weight [{}, {}]",
      x.shape().text(),
      w.rows(),
      w.cols());
  // A context on meta over any weight takes the scratch and computes nothing.
  QUERN_CHECK(w.device() == ctx.device || ctx.device.is_meta(),
              "a weight packed for {} used on {}",
              w.device().text(),
              ctx.device.text());
}

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
  std::vector<std::unique_ptr<PackedWeight>> packed;
  for (const Segment& segment : segments_of(ctx, std::move(parts)))
    packed.push_back(pack_segment(ctx, segment));
  return stack_weights(std::move(packed));
}

std::unique_ptr<PackedWeight> stack_weights(std::vector<std::unique_ptr<PackedWeight>> parts) {
  QUERN_CHECK(!parts.empty());
  if (parts.size() == 1) return std::move(parts[0]);
  const Device device = parts[0]->device();
  for (const auto& part : parts)
    QUERN_CHECK(part->device() == device && part->cols() == parts[0]->cols(),
                "[{}, {}] beside {} columns",
                part->rows(),
                part->cols(),
                parts[0]->cols());
  return std::make_unique<StackedWeight>(device, std::move(parts));
}

Tensor matmul(Ctx& ctx, const Tensor& x, const PackedWeight& w, const Tensor& bias) {
  check_product(ctx, x, w);
  QUERN_CHECK(!bias.defined() || (bias.rank() == 1 && bias.dim(0) == w.rows() && is_f32(bias) &&
                                  bias.is_contiguous()),
              "bias {}, weight [{}, {}]",
              bias.shape().text(),
              w.rows(),
              w.cols());
  const Tensor y = ctx.empty({x.dim(0), w.rows()});
  if (y.numel() > 0) w.multiply(ctx, x, bias, y);
  return y;
}

void PackedWeight::multiply_gated(Ctx&, const Tensor&, const Tensor&) const {
  fail(ErrorCode::internal, "{} does not gate", kernel());
}

Tensor matmul_silu_mul(Ctx& ctx, const Tensor& x, const PackedWeight& w) {
  if (!w.can_gate(x.dim(0))) return silu_mul(ctx, matmul(ctx, x, w));
  check_product(ctx, x, w);
  const Tensor y = ctx.empty({x.dim(0), w.rows() / 2});
  w.multiply_gated(ctx, x, y);
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
