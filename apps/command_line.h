// SPDX-License-Identifier: Apache-2.0
// The command line as vLLM's users type it: spellings, numbers with suffixes, and where values come
// from when no flag is given.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace quern {

// Dashes and underscores are equal in the names of flags ("--max_num_seqs"); vLLM's short forms of
// several letters (-tp) become long ones. Values and what follows "--" stay as they are.
std::vector<std::string> normalize_arguments(std::span<char* const> arguments);

// What this process was started with, without the program's name.
std::vector<std::string> own_arguments();

// "4096", "8k" (8000), "8K" (8192), "1.5M": vLLM's spelling of counts. Throws invalid_argument
// naming `flag`.
int64_t parse_count(std::string_view text, std::string_view flag);

// The flag of `app` that is nearest to `typed`; empty if none is near.
std::string nearest_flag(const CLI::App& app, std::string_view typed);

// Makes every long option of `app` read QUERN_NAME (dashes as underscores) when it is not on the
// command line.
void read_environment(CLI::App& app);

// Where a value comes from, if no flag gives it: QUERN_X, then vLLM's variable of the same meaning,
// then the file of --config (TOML; .yaml and .yml: YAML). Both functions fill QUERN_* variables
// that are unset, so they run before parsing and before there are threads. Each returns lines that
// say what was taken, for the start of the log.
std::vector<std::string> adopt_vllm_environment();
std::vector<std::string> adopt_config_file(std::span<const std::string> arguments);

}  // namespace quern
