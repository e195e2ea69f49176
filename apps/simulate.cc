// SPDX-License-Identifier: Apache-2.0
// quern simulate: what a load would see of servers that are not there: the engine's scheduler under
// a virtual clock, with the times of a step log or of a plan.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "bench/statistics.h"
#include "commands.h"
#include "exit_codes.h"
#include "plan/simulator.h"

namespace quern {
namespace {

constexpr size_t kMostFile = size_t{256} << 20;
constexpr int kMostRanks = 10'000;

struct SimulateOptions {
  std::string step_log, plan, trace, against;
  double rate = 1, range_ratio = 0, failure_s = 0, recovery_s = 10, request_ms = 0;
  double goodput_ttft_ms = 0, goodput_tpot_ms = 0;
  int num_prompts = 256, replicas = 1;
  int64_t input_len = 256, output_len = 64, prefix_len = 0, kv_tokens = 0;
  uint64_t seed = 0;
  EngineConfig engine;
  bool json = false, no_prefix_caching = false;
};

// One replica's cost and cache by what `quern plan --json` says of it.
void take_plan(const SimulateOptions& o, SimulationOptions& out) {
  const Json plan = parse_json(read_file(o.plan, kMostFile), o.plan);
  if (!plan.value("fits", false))
    fail(ErrorCode::exhausted,
         "--plan {}: the model does not fit, by {:.2f} GB",
         o.plan,
         1e-9 * plan.value("missing_bytes", 0.0));
  const double decode = plan.value("decode_tokens_per_s", 0.0),
               prefill = plan.value("prefill_tokens_per_s", 0.0);
  if (decode <= 0 || prefill <= 0)
    fail(ErrorCode::invalid_argument, "--plan {}: it has no rates; plan for a --device", o.plan);
  // The busiest rank's bytes at the rate that the plan's decode has. A step reads what all tokens
  // share once, experts that any of them chose, and the cache of each.
  double read = 0, chosen = 0, experts = 0, kv = 0;
  for (const Json& rank : plan.at("ranks")) {
    const Json& bytes = rank.at("bytes");
    if (rank.at("read_per_token").get<double>() > read) {
      read = rank.at("read_per_token").get<double>();
      chosen = rank.at("experts_read_per_token").get<double>();
      experts = bytes.at("experts").get<double>() + bytes.at("experts_in_file").get<double>();
    }
    kv = std::max(kv, bytes.at("kv_per_token").get<double>());
  }
  const double byte_s = 1 / (decode * read);
  out.cost = StepCost({(read - chosen) * byte_s, 0, 0, 0, kv * byte_s, 0},
                      {.products_s = 1 / prefill,
                       .experts_s = experts * byte_s,
                       .chosen = experts > 0 ? chosen / experts : 0});
  if (o.kv_tokens == 0)
    out.engine.num_blocks = plan.value("kv_tokens", int64_t{0}) / out.engine.block_size;
}

// Times and lengths of a result of `quern bench serve`, or lines of {"at_s", "input_tokens",
// "output_tokens", "prefix_tokens", "prefix"}.
std::vector<SimulatedRequest> read_trace(const std::string& path) {
  const std::string text = read_file(path, kMostFile);
  std::vector<SimulatedRequest> out;
  const auto add = [&](const Json& at, const Json& input, const Json& output) {
    out.push_back({.at_s = at.get<double>(),
                   .input_tokens = input.get<int64_t>(),
                   .output_tokens = output.get<int64_t>()});
  };
  if (const Json whole = Json::parse(text, nullptr, false);
      whole.is_object() && whole.contains("start_times")) {
    for (size_t i = 0; i < whole.at("start_times").size(); ++i)
      add(whole.at("start_times").at(i),
          whole.at("input_lens").at(i),
          whole.at("output_lens").at(i));
  } else {
    size_t number = 0;
    for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
      end = std::min(text.find('\n', begin), text.size());
      ++number;
      if (end == begin) continue;
      const Json line = parse_json(std::string_view(text).substr(begin, end - begin),
                                   format("{}: line {}", path, number));
      add(line.at("at_s"), line.at("input_tokens"), line.at("output_tokens"));
      out.back().prefix_tokens = line.value("prefix_tokens", int64_t{0});
      out.back().prefix = line.value("prefix", uint64_t{0});
    }
  }
  std::ranges::stable_sort(out, {}, &SimulatedRequest::at_s);
  return out;
}

std::vector<SimulatedRequest> poisson_load(const SimulateOptions& o) {
  std::mt19937_64 random(o.seed);
  std::vector<SimulatedRequest> out;
  for (const double at : bench::poisson_arrivals(o.rate, o.num_prompts, o.seed))
    out.push_back(
        {.at_s = at,
         .input_tokens = o.prefix_len + bench::length_near(o.input_len, o.range_ratio, random),
         .output_tokens = bench::length_near(o.output_len, o.range_ratio, random),
         .prefix_tokens = o.prefix_len});
  return out;
}

void add_summary(Json& fields, const std::string& name, std::vector<double> values) {
  const bench::Summary s = bench::summarize(std::move(values));
  fields["mean_" + name] = s.mean;
  fields["median_" + name] = s.median;
  fields["p90_" + name] = s.p90;
  fields["p99_" + name] = s.p99;
}

// Under the names of `quern bench serve`.
Json fields_of(const SimulateOptions& o,
               const std::vector<SimulatedRequest>& requests,
               const SimulationResult& result) {
  std::vector<double> ttft, tpot, latency;
  int64_t input = 0, output = 0, good = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const SimulatedAnswer& a = result.answers[i];
    ttft.push_back(1e3 * (a.first_s - a.at_s));
    latency.push_back(1e3 * (a.end_s - a.at_s));
    const double each = a.output_tokens > 1
                            ? 1e3 * (a.end_s - a.first_s) / static_cast<double>(a.output_tokens - 1)
                            : 0;
    if (a.output_tokens > 1) tpot.push_back(each);
    input += requests[i].input_tokens;
    output += a.output_tokens;
    const bool is_good = (o.goodput_ttft_ms <= 0 || ttft.back() <= o.goodput_ttft_ms) &&
                         (o.goodput_tpot_ms <= 0 || each <= o.goodput_tpot_ms);
    good += is_good ? 1 : 0;
  }
  const double duration = std::max(result.duration_s, 1e-9);
  Json out = {{"completed", requests.size()},
              {"duration", result.duration_s},
              {"total_input_tokens", input},
              {"total_output_tokens", output},
              {"request_throughput", static_cast<double>(requests.size()) / duration},
              {"output_throughput", static_cast<double>(output) / duration},
              {"total_token_throughput", static_cast<double>(input + output) / duration}};
  if (o.goodput_ttft_ms > 0 || o.goodput_tpot_ms > 0)
    out["request_goodput"] = static_cast<double>(good) / duration;
  add_summary(out, "ttft_ms", std::move(ttft));
  add_summary(out, "tpot_ms", std::move(tpot));
  add_summary(out, "e2el_ms", std::move(latency));
  out["replicas"] = o.replicas;
  out["steps"] = result.steps;
  out["busy_share"] = result.busy_share;
  out["most_kv_share"] = result.most_blocks_share;
  out["cached_tokens"] = result.cached_tokens;
  out["preemptions"] = result.preemptions;
  out["failures"] = result.failures;
  return out;
}

void print(const Json& fields, const Json& real) {
  constexpr const char* kCompared[] = {"mean_ttft_ms",
                                       "median_ttft_ms",
                                       "p99_ttft_ms",
                                       "mean_tpot_ms",
                                       "mean_e2el_ms",
                                       "output_throughput",
                                       "request_throughput"};
  for (const auto& [name, value] : fields.items())
    std::printf("%-24s %s\n",
                name.c_str(),
                value.is_number_float() ? format("{:.3f}", value.get<double>()).c_str()
                                        : value.dump().c_str());
  if (!real.is_object()) return;
  std::printf("\n%-24s %12s %12s %8s\n", "against", "simulated", "measured", "differs");
  for (const char* name : kCompared)
    if (real.contains(name)) {
      const double mine = fields.at(name).get<double>(), theirs = real.at(name).get<double>();
      std::printf("%-24s %12.3f %12.3f %+7.1f %%\n", name, mine, theirs, 100 * (mine / theirs - 1));
    }
}

int run_simulation(const SimulateOptions& o) {
  SimulationOptions s;
  s.engine = o.engine;
  s.engine.enable_prefix_caching = !o.no_prefix_caching;
  if (o.kv_tokens > 0) s.engine.num_blocks = o.kv_tokens / o.engine.block_size;
  if (o.step_log.empty() == o.plan.empty())
    fail(ErrorCode::invalid_argument, "give one of --step-log FILE and --plan FILE");
  if (!o.plan.empty()) {
    take_plan(o, s);
  } else {
    if (o.kv_tokens == 0)
      s.engine.num_blocks =
          (o.engine.max_model_len / o.engine.block_size + 1) * o.engine.max_num_seqs;
    const std::vector<TimedStep> steps =
        read_step_log(read_file(o.step_log, kMostFile), o.step_log);
    s.cost = StepCost::fit(steps);
    const StepCost::Terms& t = s.cost.terms();
    std::fprintf(
        stderr,
        "fitted to %zu steps, off by %.1f %% on average: a step %.3f ms, with prefill %.3f more; "
        "a sequence %.4f, a prefill token %.4f, 1000 attended pairs %.4f, of prefill %.4f\n",
        steps.size(),
        100 * s.cost.error(steps),
        1e3 * t[0],
        1e3 * t[1],
        1e3 * t[2],
        1e3 * t[3],
        1e6 * t[4],
        1e6 * t[5]);
  }
  s.replicas = o.replicas;
  s.request_s = 1e-3 * o.request_ms;
  s.failure_s = o.failure_s;
  s.recovery_s = o.recovery_s;
  s.seed = o.seed;
  const std::vector<SimulatedRequest> requests =
      o.trace.empty() ? poisson_load(o) : read_trace(o.trace);
  const SimulationResult result = simulate(s, requests);
  const Json fields = fields_of(o, requests, result);
  const Json real =
      o.against.empty() ? Json() : parse_json(read_file(o.against, kMostFile), o.against);
  if (o.json)
    std::printf("%s\n", fields.dump().c_str());
  else
    print(fields, real);
  return kExitDone;
}

void add_load_options(CLI::App& command, SimulateOptions& o) {
  constexpr const char* kGroup = "Load";
  command
      .add_option(
          "--trace",
          o.trace,
          "a result of quern bench serve, or JSON lines of at_s, input_tokens, output_tokens")
      ->group(kGroup);
  command.add_option("--poisson,--request-rate", o.rate, "requests a second, without a trace")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--num-prompts", o.num_prompts, "of them")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000'000));
  command.add_option("--input-len", o.input_len, "tokens of a prompt")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--output-len", o.output_len, "tokens of an answer")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--range-ratio", o.range_ratio, "lengths vary by this share")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command
      .add_option(
          "--prefix-len", o.prefix_len, "tokens in front of every prompt that are always the same")
      ->group(kGroup)
      ->check(CLI::Range(0, 1 << 24));
  command.add_option("--seed", o.seed, "of arrivals, lengths and failures")
      ->group(kGroup)
      ->capture_default_str();
}

void add_server_options(CLI::App& command, SimulateOptions& o) {
  constexpr const char* kGroup = "Servers";
  command
      .add_option("--step-log",
                  o.step_log,
                  "what quern serve --step-log wrote: a step's time is fitted to it")
      ->group(kGroup);
  command
      .add_option(
          "--plan", o.plan, "what quern plan --json said of one replica: its roofs are the times")
      ->group(kGroup);
  command.add_option("--replicas", o.replicas, "servers; a request goes to the idlest")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, kMostRanks));
  command.add_option("--max-num-seqs", o.engine.max_num_seqs, "as for serve")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  command.add_option("--max-num-batched-tokens", o.engine.max_num_batched_tokens, "as for serve")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--max-model-len", o.engine.max_model_len, "as for serve")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--block-size", o.engine.block_size, "as for serve")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command
      .add_option("--kv-tokens",
                  o.kv_tokens,
                  "of one replica's cache; without it what the plan says, or all that "
                  "--max-num-seqs may fill")
      ->group(kGroup)
      ->check(CLI::PositiveNumber);
  command.add_flag("--no-enable-prefix-caching", o.no_prefix_caching, "as for serve")
      ->group(kGroup);
  command.add_option("--request-ms", o.request_ms, "that a request takes besides steps")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--mtbf",
                  o.failure_s,
                  "seconds between losses of a replica's workers, on average; 0: none")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_option("--recovery", o.recovery_s, "seconds until lost workers are replaced")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
}

}  // namespace

void add_simulate_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<SimulateOptions>();
  CLI::App* command = parent.add_subcommand(
      "simulate", "what a load would see of servers that are not there, under a virtual clock");
  add_load_options(*command, *o);
  add_server_options(*command, *o);
  command->add_option("--goodput-ttft",
                      o->goodput_ttft_ms,
                      "milliseconds: count requests whose first token is there by then");
  command->add_option(
      "--goodput-tpot", o->goodput_tpot_ms, "milliseconds a token after the first, likewise");
  command->add_option(
      "--against", o->against, "a result of quern bench serve of the same load: compared with it");
  command->add_flag("--json", o->json, "one JSON object");
  command->callback([o, &exit_code] { exit_code = run_simulation(*o); });
}

}  // namespace quern
