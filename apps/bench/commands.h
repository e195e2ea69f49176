// SPDX-License-Identifier: Apache-2.0
// The four benches, each a subcommand of `quern bench`. Like the functions of commands.h: they add
// it, and run it when it was typed.
#pragma once

namespace CLI {
class App;
}

namespace quern::bench {

void add_kernels_command(CLI::App& parent, int& exit_code);
void add_latency_command(CLI::App& parent, int& exit_code);
void add_throughput_command(CLI::App& parent, int& exit_code);
void add_serve_command(CLI::App& parent, int& exit_code);

}  // namespace quern::bench
