// SPDX-License-Identifier: Apache-2.0
// A plot as SVG text, and the report page around plots: one file that needs no other.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace quern::bench {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
  bool is_line = true;  // else points alone
};

struct Plot {
  std::string title, x_label, y_label;
  bool is_log = false;  // both axes; values that are not positive are left out then
  std::vector<Series> series;
};

// Empty series and values that are not finite are left out; a plot without any says so.
std::string svg(const Plot& plot);

// A page for light and dark: `tables` (an object of lists of objects, by heading), then the plots,
// then the plain fields of `fields`.
std::string page(const std::string& title,
                 const Json& tables,
                 const std::vector<Plot>& plots,
                 const Json& fields);

// `result` as a table of its plain fields, one table a list of objects, and the plots above.
std::string report_page(const Json& result, const std::vector<Plot>& plots);

}  // namespace quern::bench
