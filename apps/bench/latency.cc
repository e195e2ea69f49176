// SPDX-License-Identifier: Apache-2.0
// quern bench latency: batches of equal prompts, one batch at a time.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/commands.h"
#include "bench/kernel_plot.h"
#include "bench/machine.h"
#include "bench/offline.h"
#include "bench/random_prompts.h"
#include "bench/result.h"
#include "bench/statistics.h"
#include "exit_codes.h"

namespace quern::bench {
namespace {

struct LatencyOptions {
  ModelOptions model;
  std::vector<int> input_lens = {32}, batch_sizes = {1};
  int output_len = 128, num_iters = 5, num_iters_warmup = 1;
  uint64_t seed = 0;
  OutputOptions output;
};

// What one batch took.
struct BatchRates {
  double latency_s = 0, prefill_tok_s = 0, decode_tok_s = 0;
};

BatchRates run_batch(const OfflineModel& model, RandomPrompts& prompts, Job shape, int batch) {
  std::vector<Job> jobs;
  for (int i = 0; i < batch; ++i)
    jobs.push_back({prompts.next(static_cast<int64_t>(shape.prompt.size())), shape.output_tokens});
  const std::vector<JobTimes> times = run_jobs(model.service(), jobs);
  // Prefill ends when the last sequence has its first token. Steps before it may decode the others
  // already: decoding is timed from there.
  double all_begun = 0, end = 0;
  for (const JobTimes& t : times) {
    all_begun = std::max(all_begun, t.first_s);
    end = std::max(end, t.last_s);
  }
  const double input = static_cast<double>(batch) * static_cast<double>(shape.prompt.size());
  const double decoded = static_cast<double>(batch) * (shape.output_tokens - 1);
  return {.latency_s = end,
          .prefill_tok_s = input / all_begun,
          .decode_tok_s = end > all_begun ? decoded / (end - all_begun) : 0};
}

double best_of(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

Json percentiles(std::vector<double> latencies) {
  std::sort(latencies.begin(), latencies.end());
  Json out = Json::object();
  for (const int percent : {10, 25, 50, 75, 90, 99})
    out[std::to_string(percent)] = percentile(latencies, percent);
  return out;
}

Json measure(const OfflineModel& model,
             RandomPrompts& prompts,
             const LatencyOptions& o,
             int input_len,
             int batch) {
  const Job shape{std::vector<int32_t>(static_cast<size_t>(input_len)), o.output_len};
  for (int i = 0; i < o.num_iters_warmup; ++i) run_batch(model, prompts, shape, batch);
  std::vector<double> latency, prefill, decode;
  const NoiseMeter noise;
  for (int i = 0; i < o.num_iters; ++i) {
    const BatchRates rates = run_batch(model, prompts, shape, batch);
    latency.push_back(rates.latency_s);
    prefill.push_back(rates.prefill_tok_s);
    decode.push_back(rates.decode_tok_s);
  }
  const Json noise_of_run = noise.read();
  return {{"input_len", input_len},
          {"output_len", o.output_len},
          {"batch_size", batch},
          {"avg_latency", summarize(latency).mean},
          {"latencies", latency},
          {"percentiles", percentiles(latency)},
          {"prefill_tok_s", summarize(prefill).median},
          {"prefill_tok_s_best", best_of(prefill)},
          {"decode_tok_s", summarize(decode).median},
          {"decode_tok_s_best", best_of(decode)},
          {"noise", noise_of_run}};
}

// Shares of the roofs, by the best batch: the roofs are best runs too. A step of several sequences
// reads the weights once.
void add_shares(Json& run, const OfflineModel& model, const Roofs& roofs) {
  const double steps_s = run["decode_tok_s_best"].get<double>() / run["batch_size"].get<double>();
  run["decode_gb_s"] = model.step_bytes * steps_s * 1e-9;
  run["read_share"] = share(run["decode_gb_s"].get<double>(), roofs.read_gb_s);
  if (model.shapes.empty()) return;
  const double gop_s = prompt_ops(model.shapes) * run["prefill_tok_s_best"].get<double>() * 1e-9;
  run["prefill_gop_s"] = gop_s;
  run["op_share"] = share(gop_s, peak_of(roofs, model.activation));
}

void print_runs(const std::vector<Json>& runs, const Roofs& roofs, const OfflineModel& model) {
  std::printf(
      "%s, %s inputs, %d threads; read roof %.1f GB/s, peak %.0f GOP/s\n"
      "shares: checkpoint bytes of a step x steps/s over the read roof, products over the peak\n\n"
      "%5s %6s %6s  %10s %13s %6s  %13s %6s  %6s\n",
      std::string(name_of(model.isa)).c_str(),
      model.activation.c_str(),
      model.threads,
      roofs.read_gb_s,
      peak_of(roofs, model.activation),
      "batch",
      "input",
      "output",
      "latency s",
      "prefill tok/s",
      "peak",
      "decode tok/s",
      "roof",
      "others");
  for (const Json& run : runs)
    std::printf("%5d %6d %6d  %10.3f %13.2f %5.0f%%  %13.2f %5.0f%%  %6.2f\n",
                run["batch_size"].get<int>(),
                run["input_len"].get<int>(),
                run["output_len"].get<int>(),
                run["avg_latency"].get<double>(),
                run["prefill_tok_s"].get<double>(),
                100 * run.value("op_share", 0.0),
                run["decode_tok_s"].get<double>(),
                100 * run["read_share"].get<double>(),
                run["noise"]["other_cores"].get<double>());
  std::printf("\nothers: cores that other processes used meanwhile\n");
}

Plot rates_over_batch(const std::vector<Json>& runs) {
  Plot plot{.title = "tokens per second",
            .x_label = "sequences at one time",
            .y_label = "tok/s",
            .is_log = true,
            .series = {}};
  for (const char* phase : {"prefill_tok_s", "decode_tok_s"})
    for (const Json& run : runs) {
      const std::string name = format("{}, {} in", phase, run["input_len"].get<int>());
      if (plot.series.empty() || plot.series.back().name != name)
        plot.series.push_back({.name = name, .points = {}});
      plot.series.back().points.emplace_back(run["batch_size"].get<double>(),
                                             run[phase].get<double>());
    }
  return plot;
}

Roofs roofs_now(const OfflineModel& model) {
  ThreadPool pool(model.threads);
  return measure_roofs(pool, model.isa);
}

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

int latency(const LatencyOptions& o) {
  check_outputs(o.output);
  const int longest = *std::max_element(o.input_lens.begin(), o.input_lens.end());
  const QuietMachine quiet;
  const OfflineModel model =
      load_for_bench(o.model,
                     {.sequence_tokens = int64_t{longest} + o.output_len,
                      .sequences = *std::max_element(o.batch_sizes.begin(), o.batch_sizes.end())});
  const int64_t memory_bytes = peak_memory_bytes();  // before the roofs take their buffer
  RandomPrompts prompts(model.service().tokenizer(), o.seed);
  Roofs roofs = roofs_now(model);
  std::vector<Json> runs;
  for (const int input_len : o.input_lens)
    for (const int batch : o.batch_sizes)
      runs.push_back(measure(model, prompts, o, input_len, batch));
  roofs.raise(roofs_now(model));
  for (Json& run : runs) add_shares(run, model, roofs);
  print_runs(runs, roofs, model);
  Json result = result_head("latency", model.isa, model.threads);
  result.update(model.to_json());
  result["loaded_memory_bytes"] = memory_bytes;
  result["roofs"] = roofs.to_json();
  add_runs(result, runs);
  write_outputs(o.output, result, {rates_over_batch(runs)});
  return kExitDone;
}

}  // namespace

void add_latency_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<LatencyOptions>();
  o->model.log_level = "warn";
  o->model.enable_prefix_caching = false;
  CLI::App* command =
      parent.add_subcommand("latency", "one batch of prompts at a time: prefill and decode rates");
  add_model_options(*command, o->model);
  constexpr const char* kGroup = "Work";
  command->add_option("--input-len", o->input_lens, "tokens of a prompt; several: each in turn")
      ->group(kGroup)
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--output-len", o->output_len, "tokens of an answer; 1: prefill alone")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--batch-size", o->batch_sizes, "sequences at one time; several: in turn")
      ->group(kGroup)
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--num-iters", o->num_iters, "batches that are measured")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 100000));
  command->add_option("--num-iters-warmup", o->num_iters_warmup, "batches before them")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0, 100000));
  command->add_option("--seed", o->seed, "of the prompts")->group(kGroup)->capture_default_str();
  add_output_options(*command, o->output);
  command->callback([o, &exit_code] { exit_code = latency(*o); });
}

}  // namespace quern::bench
