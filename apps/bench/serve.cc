// SPDX-License-Identifier: Apache-2.0
// quern bench serve: requests over HTTP that arrive whether or not earlier ones are answered.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "bench/commands.h"
#include "bench/load_client.h"
#include "bench/machine.h"
#include "bench/own_server.h"
#include "bench/random_prompts.h"
#include "bench/result.h"
#include "bench/serve_result.h"
#include "bench/statistics.h"
#include "exit_codes.h"
#include "model_source.h"

namespace quern::bench {
namespace {

struct ServeBenchOptions {
  std::string model, tokenizer, base_url, host = "127.0.0.1", api_key;
  std::string backend = "openai";
  int port = 0;
  std::vector<std::string> server_flags;
  std::vector<double> request_rates = {std::numeric_limits<double>::infinity()};
  int num_prompts = 32, input_len = 256, output_len = 64, max_concurrency = 0, num_warmups = 1;
  double range_ratio = 0, temperature = 0;
  bool ignores_eos = true;
  uint64_t seed = 0;
  std::vector<std::string> goodput;
  OutputOptions output;

  bool has_address() const { return !base_url.empty() || port != 0; }
};

// What is being asked, and what is known of it.
struct Target {
  std::unique_ptr<OwnServer> own;  // null: a server that runs already
  Endpoint endpoint;
  std::string model, root;
  int64_t max_model_len = 0;  // 0: the server does not say
};

std::string address_of(const ServeBenchOptions& o) {
  std::string url = o.base_url.empty() ? format("http://{}:{}", o.host, o.port) : o.base_url;
  while (url.ends_with('/')) url.pop_back();
  if (url.ends_with("/v1")) url.resize(url.size() - 3);
  return url;
}

void start_server(Target& target, const ServeBenchOptions& o) {
  std::vector<std::string> arguments = {o.model, "--log-level", "warn", "--disable-log-requests"};
  if (!o.api_key.empty()) arguments.insert(arguments.end(), {"--api-key", o.api_key});
  arguments.insert(arguments.end(), o.server_flags.begin(), o.server_flags.end());
  target.own = std::make_unique<OwnServer>(arguments);
}

Target open_target(const ServeBenchOptions& o) {
  Target target;
  if (!o.has_address()) start_server(target, o);
  target.endpoint = {.base_url = target.own ? target.own->base_url() : address_of(o),
                     .api_key = o.api_key};
  const ServedModel served = find_served(target.endpoint, o.model);
  target.model = served.id;
  target.root = served.root;
  target.max_model_len = served.max_model_len;
  return target;
}

// The tokenizer of --tokenizer, of MODEL, or of what the server says that it serves.
Tokenizer tokenizer_for(const ServeBenchOptions& o, const Target& target) {
  if (!o.tokenizer.empty()) return open_tokenizer(find_model(o.tokenizer));
  std::string reasons;
  for (const std::string& name : {o.model, target.root, target.model}) {
    if (name.empty()) continue;
    try {
      return open_tokenizer(find_model(name));
    } catch (const Error& e) {
      reasons += format("\n  {}: {}", name, e.what());
    }
  }
  fail(ErrorCode::not_found,
       "prompts of a known length need the model's tokenizer, and none was found here; name a "
       "folder or file with --tokenizer{}",
       reasons);
}

int64_t longest(int length, double ratio) {
  return length + static_cast<int64_t>(std::floor(ratio * length));
}

void check_lengths(const ServeBenchOptions& o, const Target& target) {
  const int64_t whole = longest(o.input_len, o.range_ratio) + longest(o.output_len, o.range_ratio);
  if (target.max_model_len > 0 && whole > target.max_model_len)
    fail(ErrorCode::invalid_argument,
         "prompts of {} and answers of {} tokens make {}: {} serves {} (max_model_len); ask for a "
         "smaller --random-input-len or --random-output-len",
         longest(o.input_len, o.range_ratio),
         longest(o.output_len, o.range_ratio),
         whole,
         target.model,
         target.max_model_len);
}

struct Work {
  std::vector<int32_t> prompt;
  int64_t output_tokens;
};

std::string body_of(const ServeBenchOptions& o,
                    const Target& target,
                    const Tokenizer& tokenizer,
                    const Work& work) {
  Json body = {{"model", target.model},
               {"temperature", o.temperature},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}};
  if (o.ignores_eos) body["ignore_eos"] = true;
  if (o.backend == "openai-chat") {
    body["messages"] = {{{"role", "user"}, {"content", tokenizer.decode(work.prompt)}}};
    body["max_completion_tokens"] = work.output_tokens;
  } else {
    body["prompt"] = work.prompt;
    body["max_tokens"] = work.output_tokens;
  }
  return json_text(body);
}

std::string path_of(const ServeBenchOptions& o) {
  return o.backend == "openai-chat" ? "/v1/chat/completions" : "/v1/completions";
}

// The same prompts and arrivals for the same seed, whatever the rate: the gaps only scale.
std::vector<TimedRequest> make_requests(const ServeBenchOptions& o,
                                        const Target& target,
                                        const Tokenizer& tokenizer,
                                        double rate) {
  RandomPrompts prompts(tokenizer, o.seed);
  std::vector<TimedRequest> out;
  for (const double at : poisson_arrivals(rate, o.num_prompts, o.seed)) {
    const int64_t input = prompts.near(o.input_len, o.range_ratio);
    const int64_t output = prompts.near(o.output_len, o.range_ratio);
    out.push_back({.at_s = at,
                   .body = body_of(o, target, tokenizer, {prompts.next(input), output}),
                   .input_tokens = input});
  }
  return out;
}

void warm_up(const ServeBenchOptions& o, const Target& target, const Tokenizer& tokenizer) {
  RandomPrompts prompts(tokenizer, ~o.seed);
  const std::vector<TimedRequest> one = {
      {.at_s = 0, .body = body_of(o, target, tokenizer, {prompts.next(o.input_len), 2})}};
  for (int i = 0; i < o.num_warmups; ++i)
    if (const LoadResult load = send_load(target.endpoint, path_of(o), one, {});
        !load.outcomes.front().is_success)
      fail(ErrorCode::unavailable, "the first request failed: {}", load.outcomes.front().error);
}

Json noise_of(const NoiseMeter& meter, const Target& target) {
  Json noise = meter.read();
  noise["server_counts_as_other"] = !target.own;
  return noise;
}

Json run_rate(const ServeBenchOptions& o,
              const Target& target,
              const Tokenizer& tokenizer,
              double rate) {
  const std::vector<TimedRequest> requests = make_requests(o, target, tokenizer, rate);
  const NoiseMeter meter(target.own ? std::vector<pid_t>{target.own->pid()} : std::vector<pid_t>());
  const LoadResult load =
      send_load(target.endpoint, path_of(o), requests, {.max_concurrency = o.max_concurrency});
  Json run = {{"request_rate", std::isinf(rate) ? Json("inf") : Json(rate)},
              {"burstiness", 1.0},
              {"max_concurrency", o.max_concurrency > 0 ? Json(o.max_concurrency) : Json()},
              {"num_prompts", o.num_prompts},
              {"seed", o.seed}};
  run["noise"] = noise_of(meter, target);
  run.update(serve_fields(load, Goodput::parse(o.goodput)));
  return run;
}

void print_run(const Json& run) {
  const Json& rate = run.at("request_rate");
  std::printf(
      "%s%-40s %s\n%-40s %.2f%s\n",
      serve_text(run).c_str(),
      "Request rate asked for (req/s):",
      rate.is_string() ? "inf" : format("{:g}", rate.get<double>()).c_str(),
      "Cores that other processes used:",
      run.at("noise").at("other_cores").get<double>(),
      run.at("noise").at("server_counts_as_other").get<bool>() ? " (the server's included)" : "");
  std::fflush(stdout);
}

// The first error of a run in which nothing succeeded ends the bench: more load would not help.
void check_success(const Json& run) {
  if (run.at("completed").get<int64_t>() == 0)
    fail(ErrorCode::unavailable,
         "no request succeeded; the first said: {}",
         run.at("errors").front().get<std::string>());
}

int serve(const ServeBenchOptions& o) {
  check_outputs(o.output);
  Goodput::parse(o.goodput);
  if (!o.has_address() && o.model.empty())
    fail(ErrorCode::invalid_argument,
         "what is to be measured? Give MODEL, and a server is started on it, or the address of a "
         "running one by --base-url or --port");
  if (o.has_address() && !o.server_flags.empty())
    fail(ErrorCode::invalid_argument,
         "{}: flags for a server, but --base-url or --port name one that runs already",
         o.server_flags.front());
  const QuietMachine quiet;
  const Target target = open_target(o);
  check_lengths(o, target);
  const Tokenizer tokenizer = tokenizer_for(o, target);
  warm_up(o, target, tokenizer);
  std::vector<Json> runs;
  for (const double rate : o.request_rates) {
    runs.push_back(run_rate(o, target, tokenizer, rate));
    print_run(runs.back());
    check_success(runs.back());
  }
  const Topology machine = probe_topology();
  Json result = result_head("serve", machine.isa, machine.physical_cores);
  result.update({{"backend", o.backend},
                 {"base_url", target.endpoint.base_url},
                 {"model_id", target.model},
                 {"random_input_len", o.input_len},
                 {"random_output_len", o.output_len},
                 {"random_range_ratio", o.range_ratio},
                 {"server_flags", o.server_flags}});
  add_runs(result, runs);
  write_outputs(o.output, result, load_plots(runs));
  return kExitDone;
}

void add_target_options(CLI::App& command, ServeBenchOptions& o) {
  constexpr const char* kGroup = "Server";
  command.add_option("MODEL,-m,--model",
                     o.model,
                     "a server is started on it; with an address: which of its models is asked");
  command.add_option(
      "SERVER_FLAGS", o.server_flags, "behind --: flags for the server started here");
  command.add_option("--base-url", o.base_url, "a running server, as http://host:port")
      ->group(kGroup);
  command.add_option("--host", o.host, "a running server's host")
      ->group(kGroup)
      ->capture_default_str();
  command.add_option("--port", o.port, "a running server's port")
      ->group(kGroup)
      ->check(CLI::Range(1, 65535));
  command.add_option("--api-key", o.api_key, "what the server wants")->group(kGroup);
  command
      .add_option("--tokenizer", o.tokenizer, "folder or file, where MODEL is not on this machine")
      ->group(kGroup);
  command
      .add_option("--backend,--endpoint-type", o.backend, "openai: completions; openai-chat: chat")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"openai", "openai-chat"}));
}

void add_load_options(CLI::App& command, ServeBenchOptions& o) {
  constexpr const char* kGroup = "Load";
  command
      .add_option("--request-rate",
                  o.request_rates,
                  "requests per second, arriving at random; inf: all at once; several: in turn")
      ->group(kGroup)
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--num-prompts", o.num_prompts, "requests of one run")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  command.add_option("--random-input-len,--input-len", o.input_len, "tokens of a prompt")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--random-output-len,--output-len", o.output_len, "tokens of an answer")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command.add_option("--random-range-ratio", o.range_ratio, "lengths vary by this share")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 0.99));
  command
      .add_option(
          "--max-concurrency", o.max_concurrency, "requests on their way at one time; 0: any")
      ->group(kGroup)
      ->check(CLI::Range(0, 100'000));
  command.add_option("--num-warmups", o.num_warmups, "requests before the first run")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  command.add_option("--temperature", o.temperature, "of the requests")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  command
      .add_flag(
          "--ignore-eos,!--no-ignore-eos", o.ignores_eos, "answers have their full length (on)")
      ->group(kGroup);
  command.add_option("--goodput", o.goodput, "count requests within ttft:MS, tpot:MS, e2el:MS")
      ->group(kGroup);
  command.add_option("--seed", o.seed, "of prompts, lengths and arrivals")
      ->group(kGroup)
      ->capture_default_str();
}

}  // namespace

void add_serve_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<ServeBenchOptions>();
  CLI::App* command = parent.add_subcommand(
      "serve", "requests over HTTP that arrive whether or not earlier ones are answered");
  add_target_options(*command, *o);
  add_load_options(*command, *o);
  add_output_options(*command, o->output);
  command->callback([o, &exit_code] { exit_code = serve(*o); });
}

}  // namespace quern::bench
