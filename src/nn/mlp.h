// SPDX-License-Identifier: Apache-2.0
// Feed-forward layers: x [T, D] -> [T, D]; F inner units, split over ranks.
#pragma once

#include "nn/activation.h"
#include "nn/builder.h"
#include "ops/elementwise.h"

namespace quern {

struct GatedMlpOptions {
  Bias gate_up_bias = Bias::none, down_bias = Bias::none;
  GateOp gate = ops::silu_mul;
};

// down(act(gate(x)) * up(x)). Shazeer 2020 (SwiGLU, GEGLU).
struct GatedMlp {
  GatedMlp(const Builder& b, int64_t d, int64_t f, const GatedMlpOptions& options)
      : GatedMlp(b, d, b.cut(f, {"gate_proj", "up_proj"}, {"down_proj"}), options) {}
  GatedMlp(const Builder& b, int64_t d, int64_t f, Bias bias = Bias::none)
      : GatedMlp(b, d, f, GatedMlpOptions{bias, bias}) {}
  // gate and up stored as one matrix, "gate_up_proj" [2 F, D], gate first (GLM-4). No biases.
  static GatedMlp fused(const Builder& b, int64_t d, int64_t f, GateOp gate = ops::silu_mul) {
    return fused(b, d, b.cut(f, {"gate_up_proj"}, {"down_proj"}), gate);
  }
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    return down(ctx, gate == ops::silu_mul ? gate_up.silu_mul(ctx, x) : gate(ctx, gate_up(ctx, x)));
  }

  Linear gate_up, down;
  GateOp gate;

 private:
  GatedMlp(const Builder& b, int64_t d, const Cut& f, const GatedMlpOptions& options)
      : gate_up(b.columns({"gate_proj", "up_proj"}, f, d, options.gate_up_bias)),
        down(b.rows("down_proj", d, f, options.down_bias)),
        gate(options.gate) {}
  GatedMlp(Linear gate_and_up, Linear last, GateOp act)
      : gate_up(std::move(gate_and_up)), down(std::move(last)), gate(act) {}
  static GatedMlp fused(const Builder& b, int64_t d, const Cut& f, GateOp gate) {
    RowPart both{"gate_up_proj", 2 * f.length, f.parts};
    for (const Range part : f.parts)
      both.rows.push_back({f.length + part.begin, f.length + part.end});
    return {b.stack({both}, d), b.rows("down_proj", d, f), gate};
  }
};

// second(act(first(x))), with biases; names differ from tower to tower ("fc1", "fc2"; "mlp.0",
// "mlp.2").
struct PlainMlp {
  struct Sizes {
    int64_t in = 0, inner = 0, out = 0;
  };
  PlainMlp(const Builder& b,
           std::string_view first_name,
           std::string_view second_name,
           const Sizes& s,
           InPlaceOp act)
      : PlainMlp(
            b, {first_name, second_name}, s, b.cut(s.inner, {first_name}, {second_name}), act) {}
  Tensor operator()(Ctx& ctx, const Tensor& x) const {
    Tensor y = first(ctx, x);
    activation(ctx, y);
    return second(ctx, y);
  }

  Linear first, second;
  InPlaceOp activation;

 private:
  struct TwoNames {
    std::string_view first, second;
  };
  PlainMlp(const Builder& b, TwoNames names, const Sizes& s, const Cut& inner, InPlaceOp act)
      : first(b.columns({names.first}, inner, s.in, Bias::present)),
        second(b.rows(names.second, s.out, inner, Bias::present)),
        activation(act) {}
};

}  // namespace quern
