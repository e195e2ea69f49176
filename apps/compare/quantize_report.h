// SPDX-License-Identifier: Apache-2.0
// What stands beside a checkpoint that was quantized: quern-quantize.json, and report.html for
// people.
#pragma once

#include <string>

#include "base/json.h"
#include "compare/comparison.h"

namespace quern::compare {

constexpr const char* kReportPage = "report.html";

// Adds to `report` what the files in `folder` and the source say at no cost ("bytes_by_kind",
// "source_bytes_by_kind") and writes the page. The same bytes for the same checkpoint.
void add_static_report(const std::string& folder, Json& report);

// Measures the checkpoint in `folder` against its source and writes both files anew, with what was
// found under "measured". Returns the comparison. `request` says what is measured; its sides are
// set here.
Json add_measured_report(const std::string& folder,
                         const std::string& source,
                         CompareRequest request);

}  // namespace quern::compare
