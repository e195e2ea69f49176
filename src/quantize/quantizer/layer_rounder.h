// SPDX-License-Identifier: Apache-2.0
// LayerRounder: chooses the codes of one unit of a checkpoint after the other.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/function_ref.h"
#include "quantize/quantizer/quantize.h"
#include "quantize/quantizer/rounding.h"
#include "quantize/quantizer/source_model.h"

namespace quern {

// A linear layer, rounded, and what is to be reported of it; or, without `rounded.values`, tensors
// that replace those of the same names.
struct RoundedModule {
  std::string name;
  RoundedLayer rounded;
  std::map<std::string, double> findings;
};

class LayerRounder {
 public:
  virtual ~LayerRounder() = default;
  // Throws invalid_argument or exhausted, before anything is written, for what cannot go well.
  virtual void expect_possible() const = 0;
  // Hands each module of the unit to `take`, in the order of their names.
  virtual void round(size_t unit, FunctionRef<void(RoundedModule)> take) = 0;
  // After the unit was written (by this run or an earlier one), in order.
  virtual void part_written(size_t unit, const std::string& path, const Config& config) = 0;
};

// By request.scheme. Both arguments must outlive it.
std::unique_ptr<LayerRounder> make_layer_rounder(const QuantizeRequest& request,
                                                 const SourceModel& source);

// The grid of a scheme for this source.
IntGrid grid_of(const Scheme& scheme, const SourceModel& source);
// The same of 8-bit floats, with the scales of these weights.
E4m3Matrix e4m3_matrix(ThreadPool& pool,
                       const Tensor& weights,
                       const Scheme& scheme,
                       const IntGrid& grid);
// Throws invalid_argument where a layer's sizes are no multiples of the scheme's groups and words.
void expect_sizes(const Scheme& scheme, const SourceModel& source);
// One matrix by its weights alone.
RoundedLayer round_by_weights(ThreadPool& pool,
                              const Tensor& weights,
                              const Scheme& scheme,
                              const SourceModel& source,
                              const std::string& name);
// The tensors and values of rounded whole numbers in the scheme's layout.
RoundedLayer laid_out(const IntLayer& layer, const Scheme& scheme, const std::string& name);
// |a - b|^2 / |a|^2.
double relative_error(const Tensor& a, const Tensor& b);

}  // namespace quern
