// SPDX-License-Identifier: Apache-2.0
// What a Builder loads and does not pack: tables, vectors, and matrices for who packs them himself.
#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "nn/loading.h"
#include "weights/formats/stated.h"

namespace quern {
namespace {

int64_t bytes_of(const QuantMatrix& m) {
  int64_t bytes = 0;
  for (const Tensor* t :
       {&m.codes, &m.scales, &m.super_scales, &m.zeros, &m.minimums, &m.super_minimums})
    if (t->defined()) bytes += t->bytes();
  return bytes;
}

// [N, K] of 16 or 32 bits -> [K, N]. On meta: the shape.
Tensor transposed(const Tensor& t) {
  Tensor out = Tensor::empty({t.dim(1), t.dim(0)}, t.dtype(), t.device());
  if (out.raw() == nullptr) return out;
  const auto turn = [&](auto* to) {
    const auto* from = t.data<std::remove_pointer_t<decltype(to)>>();
    for (int64_t n = 0; n < t.dim(0); ++n)
      for (int64_t k = 0; k < t.dim(1); ++k)
        to[k * t.dim(0) + n] = from[n * t.stride(0) + k * t.stride(1)];
  };
  if (bits_of(t.dtype()) == 16)
    turn(out.data<uint16_t>());
  else
    turn(out.data<float>());
  return out;
}

}  // namespace

// Block types stay as they are stored: a step looks up few rows, and a table that was unpacked
// would be the largest tensor of a small model.
Table Builder::table(std::string_view name, const Cut& n, int64_t k) const {
  QUERN_CHECK(n.parts.size() == 1);
  Table out;
  out.rows_ = n.parts[0];
  if (!has_weights()) {
    out.floats_ = read(name, {n.length, k}, n.parts[0], {0, k}).codes;
    loading_->bytes += out.floats_.bytes();
    loading_->tables.push_back(
        {path_of(name), {n.parts[0].size(), k}, {n.length, k}, {}, out.floats_.bytes()});
    return out;
  }
  out.checkpoint_ = loading_->checkpoint;
  out.path_ = path_of(name);
  check_shape(out.path_, n.length, k);
  out.format_ = &format_of(*out.checkpoint_, out.path_);
  const QuantMatrix shapes =
      out.format_->read(*out.checkpoint_, out.path_, {0, n.length}, {0, k}, Device::meta());
  if (shapes.is_plain() && bits_of(shapes.codes.dtype()) >= 16)
    out.floats_ = read(name, {n.length, k}, n.parts[0], {0, k}).codes;
  const int64_t bytes = bytes_of(shapes) * n.parts[0].size() / std::max<int64_t>(n.length, 1);
  loading_->bytes += bytes;
  loading_->tables.push_back({out.path_, {n.parts[0].size(), k}, {n.length, k}, {}, bytes});
  return out;
}

Tensor Table::row(int64_t r) const {
  QUERN_CHECK(0 <= r && r < rows_.size(), "row {} of {}", r, rows_.size());
  const Shape whole = format_->shape(*checkpoint_, path_);
  const int64_t step = format_->granule(*checkpoint_, path_).rows, at = rows_.begin + r;
  const Range rows{at / step * step, std::min(at / step * step + step, whole[0])};
  const QuantMatrix w = format_->read(*checkpoint_, path_, rows, {0, whole[1]}, Device::cpu());
  return dequantize_rows(w, at - rows.begin, at - rows.begin + 1);
}

Tensor Builder::vector(std::string_view name, int64_t length) const {
  Tensor out;
  if (!has_weights()) {
    out = Tensor::empty({length}, DType::f32, Device::meta());
  } else {
    const std::string path = path_of(name);
    out = read_f32(*loading_->checkpoint, path, ctx().device);
    if (out.numel() != length)
      fail(ErrorCode::data_loss,
           "{}: expected [{}] by {}, got {} in the file",
           path,
           length,
           config().path(),
           out.shape().text());
    out = out.reshape({length});
  }
  loading_->bytes += out.bytes();
  return out;
}

// The one rule for matrices that are rearranged as floats: what is not floats becomes float32.
QuantMatrix Builder::read_floats(std::string_view name, const Shape& whole, Range rows) const {
  if (has_weights()) check_shape(path_of(name), whole[0], whole[1]);
  QuantMatrix w = read(name, whole, rows, {0, whole[1]});
  if (w.is_plain() && bits_of(w.codes.dtype()) >= 16 && w.column_order.empty()) return w;
  QuantMatrix out;
  out.codes = dequantize(w);
  out.code_bits = bits_of(out.codes.dtype());
  return out;
}

std::vector<std::unique_ptr<ops::PackedWeight>> Builder::heads(std::string_view name,
                                                               const Shape& whole,
                                                               std::span<const Range> rows,
                                                               Turned turned) const {
  std::vector<std::unique_ptr<ops::PackedWeight>> out;
  int64_t bytes = 0;
  for (const Range& head : rows) {
    QuantMatrix w = read_floats(name, whole, head);
    if (turned == Turned::yes) w.codes = transposed(w.codes);
    out.push_back(ops::pack_weight(ctx(), {std::move(w)}));
    bytes += out.back()->bytes();
  }
  if (!out.empty())
    count(name, {{total_size(rows), whole[1]}, whole, bytes}, out.front()->kernel());
  return out;
}

Linear Builder::exact(std::string_view name, int64_t n, int64_t k) const {
  Ctx exact = ctx();
  exact.activation = Activation::f32;
  const QuantMatrix floats = has_weights() ? read_floats(name, {n, k}, {0, n})
                                           : stated_floats(*loading_->checkpoint, {n, k});
  std::unique_ptr<ops::PackedWeight> weight = ops::pack_weight(exact, {floats});
  count(name, {{n, k}, {n, k}, weight->bytes()}, weight->kernel());
  Linear out(std::move(weight), {}, n, k);
  if (LinearObserver* const watching = observer()) out.observed_by(*watching, path_of(name));
  return out;
}

}  // namespace quern
