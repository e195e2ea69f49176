// SPDX-License-Identifier: Apache-2.0
// quern serve: the OpenAI API for one model.
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "access_options.h"
#include "api/parsers/registry.h"
#include "base/log.h"
#include "command_line.h"
#include "commands.h"
#include "exit_codes.h"
#include "loaded_model.h"
#include "node_agent.h"
#include "plan/step_cost.h"
#include "ray_launch.h"
#include "replicas.h"
#include "server/api_server.h"
#include "server/origin_rules.h"
#include "server/replica_proxy.h"
#include "serving_plan.h"
#include "version.h"

namespace quern {
namespace {

struct ServeOptions {
  ModelOptions model;
  RayOptions ray;
  ServerConfig server;
  AccessOptions access;
  std::vector<std::string> names;
  std::optional<uint64_t> seed;
  std::string tool_parser = "auto", reasoning_parser = "auto", voices, step_log;
  bool logs_requests = true, ignores_generation_config = false, has_no_ui = false;
};

// Each connection takes a descriptor, and the usual soft limit of 1024 would turn them away before
// --max-connections does.
void raise_descriptor_limit(int connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = static_cast<rlim_t>(connections) + 256;
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(wanted, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted)
    log(LogLevel::warn,
        "this process may open {} files: too few for --max-connections {}; raise ulimit -n",
        limit.rlim_cur,
        connections);
}

// One line for machines: on standard output, where who waits for the server reads it, or to the
// parent of a replica.
void say_ready(const ServeOptions& o, int port, const std::string& model, bool is_replica) {
  const Json ready = {{"event", "ready"},
                      {"host", o.server.host},
                      {"port", port},
                      {"scheme", o.server.tls.is_on() ? "https" : "http"},
                      {"model", model},
                      {"pid", getpid()}};
  if (is_replica) return report_replica(ready.dump());
  std::printf("%s\n", ready.dump().c_str());
  std::fflush(stdout);
}

// A line for each step of the engine, for quern simulate.
class StepLog {
 public:
  explicit StepLog(const std::string& path) : file_(path, std::ios::trunc) {
    if (!file_) fail(ErrorCode::not_found, "--step-log {}: cannot be written", path);
    file_ << step_log_names();
  }
  void add(const StepShape& shape, int64_t took_us) { file_ << step_log_line(shape, took_us); }

 private:
  std::ofstream file_;
};

// Stops a server that is made after the model whose end it is to follow.
class OffSwitch {
 public:
  void connect(ApiServer* server) {
    const std::lock_guard lock(mutex_);
    server_ = server;
    if (server_ != nullptr && is_off_) server_->stop();
  }
  void turn_off() {
    const std::lock_guard lock(mutex_);
    is_off_ = true;
    if (server_ != nullptr) server_->stop();
  }

 private:
  std::mutex mutex_;
  ApiServer* server_ = nullptr;
  bool is_off_ = false;
};

// Renews the replicas at each SIGHUP, which no other thread of this process takes.
class RenewalSignal {
 public:
  // To be made before other threads are.
  RenewalSignal() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  ~RenewalSignal() {
    is_over_ = true;
    if (thread_.joinable()) thread_.join();
  }
  void connect(ReplicaSet& replicas) {
    thread_ = std::thread([this, &replicas] {
      const timespec look{.tv_sec = 0, .tv_nsec = 100'000'000};
      while (!is_over_)
        if (sigtimedwait(&set_, nullptr, &look) == SIGHUP) replicas.renew();
    });
  }

 private:
  sigset_t set_;
  std::atomic<bool> is_over_ = false;
  std::thread thread_;
};

int serve_replicas(ServeOptions& o) {
  o.access.read_keys();  // a wrong flag is to be known at once
  raise_descriptor_limit(2 * o.server.max_connections);
  o.server.handles_signals = true;
  RenewalSignal signal;
  const MonotonicClock clock;
  ReplicaRouter router(o.model.data_parallel_size,
                       o.model.data_parallel_routing == "prefix" ? RoutingPolicy::prefix
                                                                 : RoutingPolicy::round_robin);
  ReplicaProxy proxy(router, o.logs_requests);
  HttpServer server(o.server, proxy, clock);
  server.listen();
  ReplicaSet replicas(router, own_arguments());
  if (const int code = replicas.start(); code != 0) return code;
  server.start();
  signal.connect(replicas);
  log(LogLevel::info,
      "{} replicas serve at {}://{}:{}; kill -HUP {} renews them one by one",
      router.count(),
      o.server.tls.is_on() ? "https" : "http",
      o.server.host,
      server.port(),
      getpid());
  say_ready(o, server.port(), o.model.model, false);
  log(LogLevel::info, "stopped signal={}", server.wait());
  replicas.stop();
  return kExitDone;
}

int serve(ServeOptions& o) {
  set_log_level(parse_log_level(o.model.log_level));
  o.model.validate_parallel();
  const std::optional<ReplicaPlace> replica = replica_place();
  // Whom the parent listens for is the parent's choice.
  const bool is_for_all = replica && !is_loopback_host(o.server.host);
  if (replica) {
    settle_replica(*replica, o.model, o.server);
    if (!o.step_log.empty()) o.step_log += format(".{}", replica->number);  // one each
  }
  if (o.model.data_parallel_size > 1) return serve_replicas(o);
  if (o.model.executor_backend == "ray" && !is_under_ray()) become_ray_launcher(o.model, o.ray);
  if (o.model.node_rank > 0) return run_node(o.model);
  ApiServerOptions options;
  options.version = kVersion;
  options.seed = o.seed;
  options.logs_requests = o.logs_requests;
  // Before the model is loaded: a wrong flag is to be known at once.
  ApiKeys keys = o.access.read_keys();
  o.access.apply(keys, o.server, options);
  if (is_for_all) options.allowed_hosts = {"*"};
  raise_descriptor_limit(o.server.max_connections);
  o.server.handles_signals = true;
  const MonotonicClock clock;
  OffSwitch off_switch;
  std::optional<StepLog> step_log;
  if (!o.step_log.empty()) step_log.emplace(o.step_log);
  const LoadOptions load{.served_names = o.names,
                         .generation_config = !o.ignores_generation_config,
                         .tool_parser = o.tool_parser,
                         .reasoning_parser = o.reasoning_parser,
                         .voices = o.voices,
                         .on_workers_gone = [&] { off_switch.turn_off(); },
                         .on_step =
                             [&](const StepShape& shape, int64_t took_us) {
                               if (step_log) step_log->add(shape, took_us);
                             }};
  const std::unique_ptr<LoadedModel> loaded = LoadedModel::load(o.model, load);
  options.serves_ui = !o.has_no_ui;
  options.make_plan = [&] { return serving_plan(o.model, *loaded); };
  ApiServer server(o.server, loaded->service(), std::move(keys), clock, std::move(options));
  server.listen();
  for (const std::string& route : server.routes()) log(LogLevel::info, "route {}", route);
  server.start();
  log(LogLevel::info,
      "Application startup complete. Listening on {}://{}:{}",
      o.server.tls.is_on() ? "https" : "http",
      o.server.host,
      server.port());
  say_ready(o, server.port(), loaded->name(), replica.has_value());
  off_switch.connect(&server);
  const int signal = server.wait();
  off_switch.connect(nullptr);
  log(LogLevel::info, "stopped signal={}", signal);
  if (loaded->service().is_stalled()) {
    // Its thread cannot be ended, and what it works on must outlive it.
    log(LogLevel::error, "a step has not returned: ending without it");
    std::_Exit(kExitTemporary);
  }
  return loaded->service().is_healthy() ? kExitDone : kExitTemporary;
}

void add_parser_options(CLI::App& command, ServeOptions& o) {
  constexpr const char* kGroup = "Tools and reasoning";
  command
      .add_option(
          "--tool-call-parser",
          o.tool_parser,
          "how this model writes tool calls; auto: found in its chat template (docs/tools.md)")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember(tool_parser_names()));
  command
      .add_option("--reasoning-parser",
                  o.reasoning_parser,
                  "how this model writes what it thinks; auto: found in its chat template")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember(reasoning_parser_names()));
  // A pointer, as CLI11 takes a literal for the variable that the flag counts in.
  constexpr const char* kMeaning = "accepted: tools work without it";
  command.add_flag("--enable-auto-tool-choice", kMeaning)->group(kGroup);
}

void add_server_options(CLI::App& command, ServeOptions& o) {
  constexpr const char* kGroup = "Server";
  ServerConfig& s = o.server;
  command
      .add_option("--served-model-name", o.names, "names in the API; the first is used in answers")
      ->group(kGroup)
      ->delimiter(',');
  command.add_option("--port", s.port, "port to listen on; 0: any free one")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  command.add_option("--max-body-bytes", s.max_body_bytes, "largest request")
      ->group(kGroup)
      ->capture_default_str();
  command.add_option("--max-connections", s.max_connections, "connections at one time")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  command
      .add_option("--max-stored-responses",
                  s.max_stored_responses,
                  "answers of /v1/responses kept for previous_response_id and GET; 0: none")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option("--max-stored-response-bytes",
                  s.max_stored_response_bytes,
                  "memory of all of them; the least recently used go first")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option_function<int64_t>(
          "--keep-alive-timeout",
          [&s](int64_t t) { s.idle_timeout_us = t * 1'000'000; },
          "seconds an idle connection is kept (60)")
      ->group(kGroup)
      ->check(CLI::Range(1, 86400));
  command
      .add_option(
          "--seed", o.seed, "where requests without a seed draw theirs from; without it, at random")
      ->group(kGroup);
  command
      .add_flag("--enable-log-requests,!--disable-log-requests",
                o.logs_requests,
                "one line per request, without prompts (on)")
      ->group(kGroup);
  command
      .add_option_function<std::string>(
          "--generation-config",
          [&o](const std::string& v) { o.ignores_generation_config = v == "vllm"; },
          "auto: the model's sampling defaults; vllm: the API's")
      ->group(kGroup)
      ->check(CLI::IsMember({"auto", "vllm"}));
  command
      .add_option("--step-log",
                  o.step_log,
                  "a file for a line of each step, what it held and took: for quern simulate")
      ->group(kGroup);
  command
      .add_flag(
          "--no-ui",
          o.has_no_ui,
          "no playground at / (it asks for no key and holds nothing secret; docs/playground.md)")
      ->group(kGroup);
}

}  // namespace

void add_serve_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<ServeOptions>();
  CLI::App* command = parent.add_subcommand("serve", "the OpenAI API for one model");
  o->model.media.decoder = "process";
  add_model_options(*command, o->model);
  add_ray_options(*command, o->ray);
  add_pooling_options(*command, o->model.pooling);
  add_media_options(*command, o->model.media);
  add_voice_options(*command, o->voices);
  add_grammar_options(*command, o->model.grammars);
  add_server_options(*command, *o);
  add_parser_options(*command, *o);
  add_access_options(*command, o->access);
  command->callback([o, &exit_code] { exit_code = serve(*o); });
}

}  // namespace quern
