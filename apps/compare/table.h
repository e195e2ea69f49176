// SPDX-License-Identifier: Apache-2.0
// A comparison as rows for a terminal and for a page.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "bench/plot.h"

namespace quern::compare {

// One row a measure: {"measure", LABEL_A: text, LABEL_B: text, "A against B": text}. What neither
// side has is left out. `comparison` is what compare() returns.
Json table_rows(const Json& comparison);

// Rows of such a form as aligned lines.
std::string table_text(const Json& rows);

// Errors of a quantized checkpoint's layers over their number, by what they are; `report` is a
// quern-quantize.json. Of outputs where it was calibrated, else of weights.
bench::Plot layer_plot(const Json& report);

// {"layer", "weight_error", …} of each, for a page.
Json layer_rows(const Json& report);

}  // namespace quern::compare
