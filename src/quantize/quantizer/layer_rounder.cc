// SPDX-License-Identifier: Apache-2.0
#include "quantize/quantizer/layer_rounder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "quantize/quantizer/calibrated_rounder.h"

namespace quern {
namespace {

double gigabytes(int64_t bytes) {
  return 1e-9 * static_cast<double>(bytes);
}

// One matrix at a time, nothing but its weights known.
class DataFreeRounder final : public LayerRounder {
 public:
  DataFreeRounder(const QuantizeRequest& request, const SourceModel& source)
      : request_(request), source_(source), ctx_(request.machine) {}

  void expect_possible() const override {
    expect_sizes(request_.scheme, source_);
    if (request_.max_memory == 0) return;
    for (const SourceUnit& unit : source_.units()) {
      int64_t kept = 0, largest = 0;
      for (const std::string& name : unit.quantized) {
        const int64_t weights = source_.shape_of(name).numel();
        kept += weights * (request_.scheme.bits + 1) / 8;
        // Float32, the stored codes on the way, the codes as bytes, decoded values.
        largest = std::max(largest, weights * 14);
      }
      if (kept + largest > request_.max_memory)
        fail(ErrorCode::exhausted,
             "--max-memory: a layer of this model takes {:.2f} GB ({:.2f} GB for its largest "
             "matrix), {:.2f} GB are allowed",
             gigabytes(kept + largest),
             gigabytes(largest),
             gigabytes(request_.max_memory));
    }
  }

  void round(size_t unit, FunctionRef<void(RoundedModule)> take) override {
    for (const std::string& name : source_.units()[unit].quantized) {
      const Tensor weights = source_.weights(name);
      RoundedModule out{
          name, round_by_weights(*ctx_.ctx().pool, weights, request_.scheme, source_, name), {}};
      out.findings = {{"weight_error", relative_error(weights, out.rounded.values)}};
      take(std::move(out));
    }
  }

  void part_written(size_t, const std::string&, const Config&) override {}

 private:
  const QuantizeRequest& request_;
  const SourceModel& source_;
  OwnedCtx ctx_;
};

}  // namespace

IntGrid grid_of(const Scheme& scheme, const SourceModel& source) {
  const bool is_half =
      scheme.element == Element::whole_number && scheme.layout != IntLayout::compressed_tensors;
  return {.bits = scheme.bits,
          .group = scheme.group,
          .is_symmetric = scheme.is_symmetric,
          .scales = is_half || source.float_type() == Stored::f16 ? DType::f16 : DType::bf16};
}

E4m3Matrix e4m3_matrix(ThreadPool& pool,
                       const Tensor& weights,
                       const Scheme& scheme,
                       const IntGrid& grid) {
  return scheme.element == Element::e4m3_block ? E4m3Matrix::with_blocks(pool, weights)
                                               : E4m3Matrix::with_rows(pool, weights, grid.scales);
}

void expect_sizes(const Scheme& scheme, const SourceModel& source) {
  if (scheme.element != Element::whole_number) return;
  const int64_t word = 32 / scheme.bits;
  const bool has_words_of_rows =
      scheme.layout != IntLayout::compressed_tensors || !scheme.is_symmetric;
  const bool has_words_of_cols = scheme.layout != IntLayout::awq;
  for (const SourceUnit& unit : source.units())
    for (const std::string& name : unit.quantized) {
      const Shape shape = source.shape_of(name);
      if (scheme.group > 0 && shape[1] % scheme.group != 0) {
        std::string fitting;
        for (const int64_t group : {128, 64, 32})
          if (shape[1] % group == 0) fitting += format("--group-size {}, ", group);
        fail(
            ErrorCode::invalid_argument,
            "--group-size {}: {} has {} inputs, which are not whole groups: use {}--group-size -1, "
            "or leave the layer out with --ignore",
            scheme.group,
            name,
            shape[1],
            fitting);
      }
      if ((has_words_of_rows && shape[0] % word != 0) ||
          (has_words_of_cols && shape[1] % word != 0))
        fail(
            ErrorCode::invalid_argument,
            "{}: [{}, {}] does not fill words of {} codes, which this format is made of: leave the "
            "layer out with --ignore, or choose another --format",
            name,
            shape[0],
            shape[1],
            word);
    }
}

RoundedLayer round_by_weights(ThreadPool& pool,
                              const Tensor& weights,
                              const Scheme& scheme,
                              const SourceModel& source,
                              const std::string& name) {
  const IntGrid grid = grid_of(scheme, source);
  if (scheme.is_float())
    return round_to_nearest(pool, weights, e4m3_matrix(pool, weights, scheme, grid), name);
  expect_storable(weights, grid, name);
  const RangeSearch search =
      scheme.searches_ranges ? RangeSearch::by_importance : RangeSearch::none;
  return laid_out(round_to_nearest(pool, weights, grid, search), scheme, name);
}

RoundedLayer laid_out(const IntLayer& layer, const Scheme& scheme, const std::string& name) {
  if (scheme.element == Element::int8_channel)
    return {write_bytes_layer(layer, name), values_of(layer)};
  IntNeeds needs;
  needs.bits = layer.bits;
  needs.group = layer.group;
  needs.has_zeros = !scheme.is_symmetric;
  needs.lowest_zero = scheme.is_symmetric ? 1 : 0;  // GPTQ's version 2 where a zero may be 0
  return {write_int_layer(layer, name, scheme.layout, needs), values_of(layer)};
}

double relative_error(const Tensor& a, const Tensor& b) {
  double difference = 0, whole = 0;
  const auto x = a.span<float>(), y = b.span<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x[i]) - y[i];
    difference += d * d;
    whole += static_cast<double>(x[i]) * x[i];
  }
  return whole == 0 ? 0 : difference / whole;
}

std::unique_ptr<LayerRounder> make_layer_rounder(const QuantizeRequest& request,
                                                 const SourceModel& source) {
  if (request.scheme.needs_calibration()) return make_calibrated_rounder(request, source);
  return std::make_unique<DataFreeRounder>(request, source);
}

}  // namespace quern
