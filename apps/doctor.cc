// SPDX-License-Identifier: Apache-2.0
// quern doctor: what this machine is, how fast it can be, what is wrong with it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "base/thread_pool.h"
#include "bench/roofs.h"
#include "commands.h"
#include "doctor/findings.h"
#include "exit_codes.h"
#include "model_options.h"
#include "model_source.h"
#include "plan/deployment.h"

namespace quern {
namespace {

constexpr int64_t kContext = 4096;  // tokens that the prediction is made for, at most
constexpr double kGb = 1e9;

struct Prediction {
  Deployment deployment;
  std::string remedy;  // where it does not fit
  int64_t context = 0;
};

struct Diagnosis {
  Topology machine;
  doctor::Host host;
  bench::Roofs roofs;
  std::vector<doctor::Finding> findings;
  std::optional<Prediction> prediction;
};

// Products run on the unit that their activation is made for, or on floats where that is missing.
double operations_per_s(const bench::Roofs& roofs, Activation activation) {
  const double unit = activation == Activation::int8   ? roofs.int8_gop_s
                      : activation == Activation::bf16 ? roofs.bf16_gop_s
                                                       : 0;
  return std::max(unit, roofs.f32_gop_s) * kGb;
}

Prediction predict(const ModelOptions& options, const Diagnosis& d) {
  PlanRequest q;
  q.subjects.checkpoint = open_checkpoint(find_model(options.model).path, options.tensor_names);
  q.subjects.isa = d.machine.isa;
  q.subjects.activation = chosen_activation(options, d.machine.isa);
  q.subjects.kv_dtype = chosen_kv_dtype(options, q.subjects.activation);
  q.device.name = "cpu";
  q.device.memory_bytes = d.machine.available_bytes;
  q.device.bytes_per_s = d.roofs.read_gb_s * kGb;
  q.device.flops_per_s = operations_per_s(d.roofs, q.subjects.activation);
  Prediction p;
  q.axes = axes_of(q.subjects);
  p.context = std::min(kContext, q.axes.max_positions);
  q.subjects.config.max_model_len = p.context;
  q.subjects.config.max_num_seqs = 1;
  p.deployment = plan_deployment(q);
  if (!p.deployment.fits()) p.remedy = remedy(q);
  return p;
}

Diagnosis diagnose(const ModelOptions& options) {
  Diagnosis d;
  d.machine = probe_topology();
  d.host = doctor::read_host("/");
  d.findings = findings_of(d.host, d.machine);
  ThreadPool pool(std::max(1, d.machine.physical_cores));
  d.roofs = bench::measure_roofs(pool, d.machine.isa);
  if (!options.model.empty()) d.prediction = predict(options, d);
  return d;
}

double gb(int64_t bytes) {
  return static_cast<double>(bytes) / kGb;
}

std::string line(std::string_view name, const std::string& value) {
  return format("{:<14}{}\n", name, value);
}

std::string describe(const Diagnosis& d) {
  const doctor::Host& h = d.host;
  std::string out =
      line("CPU", format("{}, kernels for {}", d.machine.cpu_name, name_of(d.machine.isa)));
  out +=
      line("cores",
           format("{} cores, {} threads{}, {} NUMA node{}{}",
                  d.machine.physical_cores,
                  d.machine.cpus.size(),
                  h.has_smt ? " (SMT)" : "",
                  d.machine.numa_nodes,
                  d.machine.numa_nodes == 1 ? "" : "s",
                  h.cpu_quota > 0 ? format(", {:.1f} allowed by the container", h.cpu_quota) : ""));
  out += line("memory",
              format("{:.1f} GB, {:.1f} free{}; swap {:.1f} GB, {:.1f} used",
                     gb(d.machine.memory_bytes),
                     gb(d.machine.available_bytes),
                     h.memory_limit_bytes > 0
                         ? format(" (the container's limit is {:.1f})", gb(h.memory_limit_bytes))
                         : "",
                     gb(h.swap_bytes),
                     gb(h.swap_used_bytes)));
  out += line("huge pages",
              format("{}, {} reserved",
                     h.huge_pages.empty() ? "not said" : h.huge_pages,
                     h.reserved_huge_pages));
  out += line("governor", h.governor.empty() ? "not said" : h.governor);
  out +=
      line("GPUs",
           h.gpus.empty() ? "none" : format("{}: this build computes on the CPU", h.gpus.size()));
  for (const std::string& gpu : h.gpus) out += line("", gpu);
  return out + line("measured",
                    format("reads {:.1f} GB/s; float32 {:.0f}, bfloat16 {:.0f}, int8 {:.0f} GOP/s",
                           d.roofs.read_gb_s,
                           d.roofs.f32_gop_s,
                           d.roofs.bf16_gop_s,
                           d.roofs.int8_gop_s));
}

std::string describe(const Prediction& p, const std::string& model) {
  const RankPlan& rank = p.deployment.ranks.front();
  std::string out = line("model",
                         format("{}: weights {:.2f} GB, scratch {:.2f}, KV {} bytes a token",
                                model,
                                gb(rank.bytes.weights()),
                                gb(rank.bytes.fixed() - rank.bytes.weights()),
                                rank.bytes.kv_per_token));
  if (!p.deployment.fits())
    return out + line("",
                      format("does not fit, {:.2f} GB are missing{}{}",
                             gb(p.deployment.missing_bytes),
                             p.remedy.empty() ? "" : "; with machines like this for devices: ",
                             p.remedy));
  return out + line("",
                    format("at most {:.1f} tokens/s of answer, {:.0f} of prompt, one sequence; {} "
                           "tokens fit",
                           p.deployment.decode_tokens_per_s,
                           p.deployment.prefill_tokens_per_s,
                           p.deployment.kv_tokens));
}

std::string text_of(const Diagnosis& d, const std::string& model) {
  std::string out = describe(d);
  if (d.prediction) out += describe(*d.prediction, model);
  if (d.findings.empty()) return out + "nothing is wrong with the set-up\n";
  out += "\n";
  for (const doctor::Finding& finding : d.findings)
    out += format("- {}\n    {}\n", finding.what, finding.command);
  return out;
}

Json json_of(const Prediction& p) {
  const RankPlan& rank = p.deployment.ranks.front();
  return {{"weight_bytes", rank.bytes.weights()},
          {"fixed_bytes", rank.bytes.fixed()},
          {"kv_bytes_per_token", rank.bytes.kv_per_token},
          {"context", p.context},
          {"fits", p.deployment.fits()},
          {"missing_bytes", p.deployment.missing_bytes},
          {"remedy", p.remedy},
          {"kv_tokens", p.deployment.kv_tokens},
          {"decode_tokens_per_s", p.deployment.decode_tokens_per_s},
          {"prefill_tokens_per_s", p.deployment.prefill_tokens_per_s}};
}

Json json_of(const Diagnosis& d) {
  Json findings = Json::array();
  for (const doctor::Finding& f : d.findings)
    findings.push_back({{"what", f.what}, {"command", f.command}});
  Json out = {{"cpu", d.machine.cpu_name},
              {"isa", name_of(d.machine.isa)},
              {"cores", d.machine.physical_cores},
              {"threads", d.machine.cpus.size()},
              {"smt", d.host.has_smt},
              {"numa_nodes", d.machine.numa_nodes},
              {"cpu_quota", d.host.cpu_quota},
              {"memory_bytes", d.machine.memory_bytes},
              {"available_bytes", d.machine.available_bytes},
              {"memory_limit_bytes", d.host.memory_limit_bytes},
              {"swap_bytes", d.host.swap_bytes},
              {"swap_used_bytes", d.host.swap_used_bytes},
              {"huge_pages", d.host.huge_pages},
              {"reserved_huge_pages", d.host.reserved_huge_pages},
              {"governor", d.host.governor},
              {"load", d.host.load},
              {"gpus", d.host.gpus},
              {"measured", d.roofs.to_json()},
              {"findings", findings}};
  if (d.prediction) out["model"] = json_of(*d.prediction);
  return out;
}

int run_doctor(const ModelOptions& options, bool is_json) {
  set_log_level(LogLevel::warn);
  const Diagnosis d = diagnose(options);
  const std::string out = is_json ? json_of(d).dump(1) + "\n" : text_of(d, options.model);
  std::fputs(out.c_str(), stdout);
  return d.prediction && !d.prediction->deployment.fits() ? kExitMemory : kExitDone;
}

}  // namespace

void add_doctor_command(CLI::App& parent, int& exit_code) {
  struct DoctorOptions {
    ModelOptions model;
    bool json = false;
  };
  auto o = std::make_shared<DoctorOptions>();
  CLI::App* command = parent.add_subcommand(
      "doctor",
      "describe this machine, measure it for two seconds, say what is wrong and what mends it");
  command->add_option("MODEL", o->model.model, "predict tokens/s of this model, too");
  command->add_option("--dtype", o->model.dtype, "of activations, as for serve")
      ->capture_default_str();
  command->add_flag("--json", o->json, "one JSON object");
  command->callback([o, &exit_code] { exit_code = run_doctor(o->model, o->json); });
}

}  // namespace quern
