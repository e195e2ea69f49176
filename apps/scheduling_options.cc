// SPDX-License-Identifier: Apache-2.0
#include "scheduling_options.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "command_line.h"

namespace quern {
namespace {

constexpr const char* kGroup = "Scheduling";
constexpr std::string_view kFlag = "--speculative-config";

int number_of(const Json& value, std::string_view key) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > 1000)
    fail(ErrorCode::invalid_argument,
         "{}: {}: expected a whole number, got {}",
         kFlag,
         key,
         value.dump().substr(0, 64));
  return value.get<int>();
}

void check_method(const Json& value) {
  if (value == "ngram") return;
  fail(ErrorCode::unsupported,
       "{}: method: expected \"ngram\" (drafts from the text itself), got {}; draft models are not "
       "supported",
       kFlag,
       value.dump().substr(0, 64));
}

void add_speculation(CLI::App& command, SpeculationConfig& s) {
  command
      .add_option_function<std::string>(
          std::string(kFlag),
          [&s](const std::string& json) { s = parse_speculation(json); },
          "guess the next tokens from what the text has said before, and verify several in a step; "
          "answers stay as they are: "
          R"({"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, )"
          R"("prompt_lookup_min": 1}; also as --speculative-config.num-speculative-tokens 4 …)")
      ->group(kGroup);
  command
      .add_option_function<std::string>(
          "--speculative-config.method",
          [](const std::string& method) { check_method(Json(method)); },
          "ngram")
      ->group(kGroup);
  command
      .add_option("--speculative-config.num-speculative-tokens", s.tokens, "tokens guessed at once")
      ->group(kGroup);
  command
      .add_option("--speculative-config.prompt-lookup-max",
                  s.lookup_max,
                  "most tokens that are looked up (5)")
      ->group(kGroup);
  command
      .add_option("--speculative-config.prompt-lookup-min",
                  s.lookup_min,
                  "least tokens that must have stood there before (5)")
      ->group(kGroup);
}

}  // namespace

SpeculationConfig parse_speculation(std::string_view text) {
  const Json json = parse_json(text, kFlag);
  if (!json.is_object() || !json.contains("num_speculative_tokens"))
    fail(ErrorCode::invalid_argument,
         "{}: expected an object with num_speculative_tokens, got {}",
         kFlag,
         text.substr(0, 64));
  SpeculationConfig out;
  int least = 0, most = 0;
  for (const auto& [key, value] : json.items()) {
    if (key == "method") {
      check_method(value);
    } else if (key == "num_speculative_tokens") {
      out.tokens = number_of(value, key);
    } else if (key == "prompt_lookup_max") {
      most = number_of(value, key);
    } else if (key == "prompt_lookup_min") {
      least = number_of(value, key);
    } else {
      fail(ErrorCode::invalid_argument,
           "{}: {}: expected method, num_speculative_tokens, prompt_lookup_max or "
           "prompt_lookup_min",
           kFlag,
           key.substr(0, 64));
    }
  }
  // Where one is given, it is the other too; as in vLLM.
  if (most > 0 || least > 0) {
    out.lookup_max = most > 0 ? most : least;
    out.lookup_min = least > 0 ? least : most;
  }
  out.validate();
  return out;
}

void SchedulingOptions::apply(EngineConfig& config) const {
  config.has_priorities = policy == "priority";
  config.long_prefill_token_threshold =
      static_cast<int>(parse_count(long_prefill_token_threshold, "--long-prefill-token-threshold"));
  config.max_queue = max_queue;
  config.request_timeout_us = request_timeout_s * 1'000'000;
  config.step_timeout_us = step_timeout_s * 1'000'000;
  config.speculation = speculation;
  config.speculation.validate();
}

void add_scheduling_options(CLI::App& command, SchedulingOptions& o) {
  command
      .add_option("--scheduling-policy",
                  o.policy,
                  "fcfs: first come, first served; priority: the lower number in a request's "
                  "priority first")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::IsMember({"fcfs", "priority"}));
  command
      .add_option("--long-prefill-token-threshold",
                  o.long_prefill_token_threshold,
                  "most prompt tokens of one sequence in a step, so that others get on beside it; "
                  "0: as many as there is room for")
      ->group(kGroup)
      ->capture_default_str();
  command
      .add_option("--max-num-queued-reqs,--max-queue",
                  o.max_queue,
                  "requests that may wait; beyond, 429 with Retry-After")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  command
      .add_option("--request-timeout",
                  o.request_timeout_s,
                  "seconds after which a request fails that is not done; 0: never")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0, 864000));
  command
      .add_option("--step-timeout",
                  o.step_timeout_s,
                  "seconds after which a step counts as stuck: its workers are replaced, or, with "
                  "one rank, all requests fail until it returns; 0: never")
      ->group(kGroup)
      ->capture_default_str()
      ->check(CLI::Range(0, 864000));
  add_speculation(command, o.speculation);
}

}  // namespace quern
