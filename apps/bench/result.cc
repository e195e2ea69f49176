// SPDX-License-Identifier: Apache-2.0
#include "bench/result.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "bench/commit.h"
#include "version.h"

namespace quern::bench {
namespace {

// As typed, its parts separated by blanks.
std::string command_line() {
  std::ifstream in("/proc/self/cmdline");
  std::string out(std::istreambuf_iterator<char>(in), {});
  std::replace(out.begin(), out.end(), '\0', ' ');
  while (out.ends_with(' ')) out.pop_back();
  return out;
}

std::string date() {
  const std::time_t now = std::time(nullptr);
  char out[32];
  std::strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return out;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  if (!(out << text << std::flush)) fail(ErrorCode::unavailable, "{}: cannot be written", path);
  std::fprintf(stderr, "quern: wrote %s\n", path.c_str());
}

}  // namespace

void add_output_options(CLI::App& command, OutputOptions& o) {
  constexpr const char* kGroup = "Output";
  command.add_option("--json", o.json, "file for the result as one JSON object")->group(kGroup);
  command.add_option("--report", o.report, "file for a page (HTML) with plots and tables")
      ->group(kGroup);
}

void check_outputs(const OutputOptions& options) {
  for (const auto& [flag, path] :
       {std::pair{"--json", options.json}, std::pair{"--report", options.report}})
    if (!path.empty() && !std::ofstream(path, std::ios::app))
      fail(ErrorCode::invalid_argument,
           "{} {}: cannot be written; does its folder exist?",
           flag,
           path);
}

Json result_head(const std::string& bench, Isa isa, int threads) {
  const Topology machine = probe_topology();
  return {{"bench", bench},
          {"date", date()},
          {"version", kVersion},
          {"commit", kCommit},
          {"command", command_line()},
          {"machine",
           {{"cpu", machine.cpu_name},
            {"physical_cores", machine.physical_cores},
            {"memory_bytes", machine.memory_bytes},
            {"best_isa", name_of(machine.isa)},
            {"isa", name_of(isa)},
            {"threads", threads}}}};
}

void add_runs(Json& result, std::vector<Json> runs) {
  if (runs.size() == 1)
    result.update(runs.front());
  else
    result["runs"] = std::move(runs);
}

void write_page(const std::string& path, const std::string& text) {
  write_file(path, text);
}

void write_outputs(const OutputOptions& options,
                   const Json& result,
                   const std::vector<Plot>& plots) {
  const auto replace = Json::error_handler_t::replace;
  if (!options.json.empty()) write_file(options.json, result.dump(1, ' ', false, replace) + "\n");
  if (!options.report.empty()) write_file(options.report, report_page(result, plots));
}

}  // namespace quern::bench
