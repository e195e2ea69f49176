// SPDX-License-Identifier: Apache-2.0
// quern bench: kernels, latency, throughput, serve.
#include <CLI/CLI.hpp>

#include "bench/commands.h"
#include "command_line.h"
#include "commands.h"

namespace quern {

void add_bench_command(CLI::App& parent, int& exit_code) {
  CLI::App* command = parent.add_subcommand(
      "bench", "measures kernels, a model, or a server; results as text, JSON and a page");
  command->require_subcommand(1);
  bench::add_kernels_command(*command, exit_code);
  bench::add_latency_command(*command, exit_code);
  bench::add_throughput_command(*command, exit_code);
  bench::add_serve_command(*command, exit_code);
  for (CLI::App* part : command->get_subcommands({})) read_environment(*part);
}

}  // namespace quern
