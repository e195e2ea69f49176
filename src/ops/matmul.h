// SPDX-License-Identifier: Apache-2.0
// y = x Wᵀ (+ b) over a packed weight.
#pragma once

#include <memory>
#include <string>

#include "base/function_ref.h"
#include "tensor/ctx.h"
#include "tensor/quant_matrix.h"

namespace quern::ops {

// Inputs that are summed before a scale is applied, at most: so many also share their own scale
// where activations are int8.
inline constexpr int64_t kMostGroupInputs = 128;

// A QuantMatrix rearranged for one kernel on one device. Made once at load, opaque to everyone but
// its kernel.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  virtual int64_t rows() const = 0;        // N
  virtual int64_t cols() const = 0;        // K
  virtual int64_t bytes() const = 0;       // as packed
  virtual std::string kernel() const = 0;  // "avx2.bf16": what was chosen, for logs
  // The product behind matmul(), which has checked its arguments and made y [T, N]; T, N > 0. On
  // meta: takes scratch only.
  virtual void multiply(Ctx& ctx, const Tensor& x, const Tensor& bias, const Tensor& y) const = 0;
  // Whether this takes gate and up of so many rows as one, y [T, N / 2]; if so, how.
  virtual bool can_gate(int64_t /*count*/) const { return false; }
  virtual void multiply_gated(Ctx& ctx, const Tensor& x, const Tensor& y) const;
  // The tensors that hold the weight, always the same ones in the same order, so that a cache can
  // write them out and put them back (of equal shape and type, not written to) into one that was
  // packed from parts without bytes.
  virtual void each_tensor(FunctionRef<void(Tensor&)> visit) = 0;
  Device device() const { return device_; }

 protected:
  explicit PackedWeight(Device device) : device_(device) {}

 private:
  Device device_;
};

// Rearranges `w` for the first kernel in the device's table that accepts it. `parts` are stacked
// along N (q, k, v or gate and up as one product). Codes of up to 8 bits stay codes; see
// code_spec.h. Packs in parallel on ctx.pool. On meta: sizes only. Parts on meta make a weight
// of ctx's device whose tensors are yet to be put in by each_tensor. Throws data_loss for weights
// that are not numbers.
std::unique_ptr<PackedWeight> pack_weight(const Ctx& ctx, std::vector<QuantMatrix> parts);
// Weights of one device and K as one product, their rows stacked: for matrices that are too large
// to be unpacked at once.
std::unique_ptr<PackedWeight> stack_weights(std::vector<std::unique_ptr<PackedWeight>> parts);

// x [T, K] float32, bias [N] float32 or undefined -> [T, N] float32. Each output element is summed
// in an order that depends on nothing but the packed weight: a row has the same bits for any T and
// any thread count. ctx.activation says what x is rounded to first: bf16, f16, or int8 with a scale
// for each row and group of up to 128 inputs (where the weight is whole numbers; bf16 elsewhere).
Tensor matmul(Ctx& ctx, const Tensor& x, const PackedWeight& w, const Tensor& bias = {});

// The same for gate and up stacked, followed by silu_mul (elementwise.h), to the bit: [T, N / 2].
// With many rows the product itself is not written out: it would not stay in a cache.
Tensor matmul_silu_mul(Ctx& ctx, const Tensor& x, const PackedWeight& w);

// Rows of a table [V, D] (f32, f16 or bf16) -> [T, D] float32. Ids are checked by the caller; an id
// outside is our bug.
Tensor embedding(Ctx& ctx, std::span<const int32_t> ids, const Tensor& table);

}  // namespace quern::ops
