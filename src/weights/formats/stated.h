// SPDX-License-Identifier: Apache-2.0
// What a checkpoint would hold by its config alone: for plans of models whose weights are not here.
#pragma once

#include "weights/weight_format.h"

namespace quern {

// Rows x cols of the matrix `prefix` of K = `whole_cols` inputs, on meta: in the form that
// quantization_config states for it, else in the float type of config.json. Throws unsupported for
// a method that is not known by its config alone.
QuantMatrix stated_matrix(const Checkpoint& checkpoint,
                          std::string_view prefix,
                          const Shape& part,
                          int64_t whole_cols);
// The same for what no tool quantizes: in the float type of config.json.
QuantMatrix stated_floats(const Checkpoint& checkpoint, const Shape& part);
// Where that form can be cut.
Granule stated_granule(const Checkpoint& checkpoint, std::string_view prefix);

}  // namespace quern
