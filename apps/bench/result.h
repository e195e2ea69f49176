// SPDX-License-Identifier: Apache-2.0
// What all benches write: one JSON object that says what ran where, and a report page.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/topology.h"
#include "bench/plot.h"

namespace CLI {
class App;
}

namespace quern::bench {

struct OutputOptions {
  std::string json, report;  // files; empty: none
};
void add_output_options(CLI::App& command, OutputOptions& options);
// Throws invalid_argument if a file cannot be written: before anything is measured.
void check_outputs(const OutputOptions& options);

// "bench", "date", "version", "commit", "command" and "machine" (CPU, cores, memory, ISA, threads).
Json result_head(const std::string& bench, Isa isa, int threads);
// One run becomes part of the result itself, several stand in a list "runs".
void add_runs(Json& result, std::vector<Json> runs);

// Writes a page and says where. Throws unavailable if it cannot be written.
void write_page(const std::string& path, const std::string& text);

// Writes what was asked for and says where. Throws unavailable if a file cannot be written after
// all.
void write_outputs(const OutputOptions& options,
                   const Json& result,
                   const std::vector<Plot>& plots);

}  // namespace quern::bench
