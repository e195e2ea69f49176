// SPDX-License-Identifier: Apache-2.0
// What a load on a server comes to, under the names that vLLM's serving bench prints and writes.
#pragma once

#include <string>
#include <vector>

#include "bench/load_client.h"
#include "bench/plot.h"

namespace quern::bench {

// A request is good if none of the times that are set is exceeded; 0: not asked for.
struct Goodput {
  double ttft_ms = 0, tpot_ms = 0, e2el_ms = 0;
  bool is_asked() const { return ttft_ms > 0 || tpot_ms > 0 || e2el_ms > 0; }
  // From "ttft:500", "tpot:100", "e2el:5000". Throws invalid_argument.
  static Goodput parse(const std::vector<std::string>& parts);
};

// "completed", "duration", "request_throughput", "mean_ttft_ms", … and, per request, "ttfts",
// "itls", "start_times", "input_lens", "output_lens", "errors".
Json serve_fields(const LoadResult& load, const Goodput& goodput);

// The fields as lines, with the labels that vLLM gives them.
std::string serve_text(const Json& fields);

// Times and throughput over the offered load, one point a run.
std::vector<Plot> load_plots(const std::vector<Json>& runs);

}  // namespace quern::bench
