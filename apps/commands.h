// SPDX-License-Identifier: Apache-2.0
// The commands of the one binary. Each function adds its subcommand to `parent` and, when that
// subcommand was typed, runs it and stores its exit code (exit_codes.h). A command may throw: main
// turns an Error into a message and the code it maps to.
#pragma once

namespace CLI {
class App;
}

namespace quern {

void add_serve_command(CLI::App& parent, int& exit_code);
void add_chat_command(CLI::App& parent, int& exit_code);
void add_run_command(CLI::App& parent, int& exit_code);
void add_transcribe_command(CLI::App& parent, int& exit_code);
void add_speak_command(CLI::App& parent, int& exit_code);
void add_run_batch_command(CLI::App& parent, int& exit_code);
void add_eval_command(CLI::App& parent, int& exit_code);
void add_tokenize_command(CLI::App& parent, int& exit_code);
void add_grammar_command(CLI::App& parent, int& exit_code);
void add_verify_command(CLI::App& parent, int& exit_code);  // verify.cc, verify/
void add_plan_command(CLI::App& parent, int& exit_code);
void add_net_check_command(CLI::App& parent, int& exit_code);
void add_simulate_command(CLI::App& parent, int& exit_code);
void add_doctor_command(CLI::App& parent, int& exit_code);  // doctor.cc, doctor/
void add_repair_command(CLI::App& parent, int& exit_code);
void add_quantize_command(CLI::App& parent, int& exit_code);
void add_convert_command(CLI::App& parent, int& exit_code);
void add_compare_command(CLI::App& parent, int& exit_code);
void add_bench_command(CLI::App& parent, int& exit_code);  // bench.cc, bench/
void add_agent_command(CLI::App& parent, int& exit_code);
void add_pull_command(CLI::App& parent, int& exit_code);
void add_cache_commands(CLI::App& parent, int& exit_code);   // cached.cc: ls, show, rm
void add_page_commands(CLI::App& parent, int& exit_code);    // completion.cc: completion, man
void add_worker_command(CLI::App& parent, int& exit_code);   // one rank; started by the others
void add_decoder_command(CLI::App& parent, int& exit_code);  // media_decoder.cc; likewise

}  // namespace quern
