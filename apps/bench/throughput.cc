// SPDX-License-Identifier: Apache-2.0
// quern bench throughput: many requests at once through the engine, without a server.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/commands.h"
#include "bench/machine.h"
#include "bench/offline.h"
#include "bench/random_prompts.h"
#include "bench/result.h"
#include "bench/statistics.h"
#include "exit_codes.h"

namespace quern::bench {
namespace {

struct ThroughputOptions {
  ModelOptions model;
  int num_prompts = 32, input_len = 256, output_len = 64;
  double range_ratio = 0;
  uint64_t seed = 0;
  OutputOptions output;
};

int64_t longest(int length, double ratio) {
  return length + static_cast<int64_t>(std::floor(ratio * length));
}

std::vector<Job> make_jobs(const OfflineModel& model, const ThroughputOptions& o) {
  RandomPrompts prompts(model.service().tokenizer(), o.seed);
  std::vector<Job> jobs;
  for (int i = 0; i < o.num_prompts; ++i) {
    const int64_t input = prompts.near(o.input_len, o.range_ratio);
    const auto output = static_cast<int>(prompts.near(o.output_len, o.range_ratio));
    jobs.push_back({prompts.next(input), output});
  }
  return jobs;
}

Json fields_of(const std::vector<Job>& jobs, const std::vector<JobTimes>& times) {
  double elapsed = 0;
  int64_t input = 0, output = 0;
  std::vector<double> latencies;
  for (size_t i = 0; i < jobs.size(); ++i) {
    elapsed = std::max(elapsed, times[i].last_s);
    input += static_cast<int64_t>(jobs[i].prompt.size());
    output += times[i].tokens;
    latencies.push_back(times[i].last_s);
  }
  return {{"elapsed_time", elapsed},
          {"num_requests", jobs.size()},
          {"total_input_tokens", input},
          {"total_output_tokens", output},
          {"total_num_tokens", input + output},
          {"requests_per_second", static_cast<double>(jobs.size()) / elapsed},
          {"tokens_per_second", static_cast<double>(input + output) / elapsed},
          {"output_throughput", static_cast<double>(output) / elapsed},
          {"median_latency_s", summarize(latencies).median}};
}

int throughput(ThroughputOptions& o) {
  check_outputs(o.output);
  const QuietMachine quiet;
  const OfflineModel model =
      load_for_bench(o.model,
                     {.sequence_tokens = longest(o.input_len, o.range_ratio) +
                                         longest(o.output_len, o.range_ratio)});
  const std::vector<Job> jobs = make_jobs(model, o);
  run_jobs(model.service(), {{jobs.front().prompt, 2}});  // a warm-up
  const NoiseMeter noise;
  Json fields = fields_of(jobs, run_jobs(model.service(), jobs));
  fields["noise"] = noise.read();
  std::printf(
      "%s, %s inputs, %d threads; %.2f cores used by other processes\n"
      "Throughput: %.2f requests/s, %.2f total tokens/s, %.2f output tokens/s\n"
      "Total num prompt tokens:  %lld\nTotal num output tokens:  %lld\n",
      std::string(name_of(model.isa)).c_str(),
      model.activation.c_str(),
      model.threads,
      fields["noise"]["other_cores"].get<double>(),
      fields["requests_per_second"].get<double>(),
      fields["tokens_per_second"].get<double>(),
      fields["output_throughput"].get<double>(),
      fields["total_input_tokens"].get<long long>(),
      fields["total_output_tokens"].get<long long>());
  Json result = result_head("throughput", model.isa, model.threads);
  result.update(model.to_json());
  result.update(fields);
  write_outputs(o.output, result, {});
  return kExitDone;
}

}  // namespace

void add_throughput_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<ThroughputOptions>();
  o->model.log_level = "warn";
  o->model.enable_prefix_caching = false;
  CLI::App* command =
      parent.add_subcommand("throughput", "many requests at once through the engine, offline");
  add_model_options(*command, o->model);
  constexpr const char* kGroup = "Work";
  command->add_option("--num-prompts", o->num_prompts, "requests")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--input-len,--random-input-len", o->input_len, "tokens of a prompt")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--output-len,--random-output-len", o->output_len, "tokens of an answer")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--random-range-ratio", o->range_ratio, "lengths vary by this share")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.99));
  command->add_option("--seed", o->seed, "of prompts and lengths")
      ->group(kGroup)
      ->capture_default_str();
  add_output_options(*command, o->output);
  command->callback([o, &exit_code] { exit_code = throughput(*o); });
}

}  // namespace quern::bench
