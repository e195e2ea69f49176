// SPDX-License-Identifier: Apache-2.0
// quern compare: two checkpoints or servers, held against each other.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "bench/result.h"
#include "commands.h"
#include "compare/comparison.h"
#include "compare/table.h"
#include "eval/text_eval.h"
#include "exit_codes.h"
#include "model_source.h"

namespace quern {
namespace {

struct CompareOptions {
  compare::CompareRequest request;
  std::string report;  // a file; empty: none
  bool json = false, has_no_speed = false, has_no_text = false;
};

// Of sides that quern has quantized.
std::vector<bench::Plot> layer_plots(const compare::CompareRequest& request) {
  std::vector<bench::Plot> out;
  for (const std::string& name : {request.a, request.b}) {
    if (compare::is_server(name)) continue;
    const std::string report = find_model(name).path + "/quern-quantize.json";
    if (!file_exists(report)) continue;
    out.push_back(compare::layer_plot(read_json_file(report)));
    out.back().title += " of " + name;
  }
  return out;
}

int run_compare(CompareOptions o) {
  set_log_level(LogLevel::warn);
  if (const std::vector<std::string>& flags = o.request.flags;
      !flags.empty() && !flags.front().starts_with('-'))
    fail(ErrorCode::invalid_argument,
         "{}: two models are compared; flags for them stand behind --, and --tasks takes one file",
         flags.front());
  o.request.has_speed = !o.has_no_speed;
  if (o.has_no_text) o.request.text.clear();
  const bench::OutputOptions output{.json = {}, .report = o.report};
  bench::check_outputs(output);
  const Topology machine = probe_topology();
  Json result = bench::result_head("compare", machine.isa, machine.physical_cores);
  const Json found = compare::compare(o.request);
  result.update(found);
  const Json rows = compare::table_rows(found);
  result["table"] = rows;
  if (!o.report.empty()) {
    const Json tables = {{"comparison", rows}, {"commands", found.at("commands")}};
    bench::write_page(
        o.report,
        bench::page(
            format("{} and {}", o.request.a, o.request.b), tables, layer_plots(o.request), result));
  }
  const std::string text = o.json ? json_text(result) + "\n" : compare::table_text(rows);
  std::fputs(text.c_str(), stdout);
  return kExitDone;
}

}  // namespace

void add_compare_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<CompareOptions>();
  o->request.text = eval::kBuiltInText;
  compare::CompareRequest& r = o->request;
  CLI::App* command = parent.add_subcommand(
      "compare", "two checkpoints or servers: size, memory, speed, perplexity, divergence, tasks");
  constexpr const char* kSide =
      "a folder, .gguf file, name in the Hugging Face cache, smollm2-135m, or a server as "
      "http://host:port[#MODEL]";
  command->add_option("A", r.a, kSide)->required();
  command->add_option("B", r.b, "what A is held against: likewise")->required();
  command->add_option(
      "FLAGS", r.flags, "behind --: flags of a model for every command that measures");
  command
      ->add_option("--text",
                   r.text,
                   "of perplexity and divergence: a file, or built-in: prose that comes with quern")
      ->capture_default_str();
  command->add_flag("--no-text", o->has_no_text, "leave perplexity and divergence out");
  command->add_option("--max-tokens", r.max_tokens, "only the first of the text's")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 32));
  // One file a flag: CLI11 takes the -- that ends a list of values for itself.
  command
      ->add_option(
          "--tasks",
          r.tasks,
          "a file of questions (docs/eval.md); may be repeated; servers: exact answers only")
      ->allow_extra_args(false);
  command->add_flag("--no-speed", o->has_no_speed, "leave loading and speed out");
  command->add_option(
      "--device", r.device, "what quern plan says of both on it: [N x] rtx3090, a100-80g, …");
  command->add_option("--api-key", r.api_key, "what servers want");
  command->add_option("--report", o->report, "file for a page (HTML)");
  command->add_flag("--json", o->json, "one JSON object");
  command->callback([o, &exit_code] { exit_code = run_compare(*o); });
}

}  // namespace quern
