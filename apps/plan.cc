// SPDX-License-Identifier: Apache-2.0
// quern plan: will it run, on what, how dealt out, how fast at best, by headers or config.json
// alone.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/log.h"
#include "command_line.h"
#include "commands.h"
#include "exit_codes.h"
#include "model_options.h"
#include "model_source.h"
#include "plan/layout.h"
#include "plan/report.h"

namespace quern {
namespace {

constexpr double kGb = 1e9, kTera = 1e12, kMicro = 1e-6;
constexpr int kMostDegrees = 16;

struct PlanOptions {
  ModelOptions model;
  std::string device = "cpu", device_memory;
  double bandwidth_gb = 0, tflops = 0, link_gb = 0, link_us = 0, network_gb = 1.25, disk_gb = 0;
  std::string net_check;
  int nodes = 1;
  bool json = false, no_degrees = false;
};

// quantization_config as the usual tools write it, for a config that states none.
Json named_quantization(const std::string& name) {
  if (name == "awq")
    return {{"quant_method", "awq"},
            {"bits", 4},
            {"group_size", 128},
            {"zero_point", true},
            {"version", "gemm"}};
  if (name == "gptq" || name == "gptq-int4" || name == "gptq-int8")
    return {{"quant_method", "gptq"},
            {"bits", name == "gptq-int8" ? 8 : 4},
            {"group_size", 128},
            {"sym", true},
            {"desc_act", false}};
  if (name == "fp8")
    return {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {128, 128}}};
  fail(ErrorCode::invalid_argument,
       "--quantization {}: a config without weights can be planned as awq, gptq, gptq-int8 or fp8",
       name);
}

std::shared_ptr<const Checkpoint> by_config(const std::string& file, const std::string& method) {
  Json config = read_json_file(file);
  if (method.empty() || config.contains("quantization_config")) {
    if (!method.empty())
      log(LogLevel::warn, "--quantization {}: {} states one and decides", method, file);
  } else {
    config["quantization_config"] = named_quantization(method);
  }
  return shapes_only_checkpoint(Config::parse(config.dump(), file), {});
}

// What the other commands take, a folder with a config alone, or the config itself.
std::shared_ptr<const Checkpoint> open_for_plan(const PlanOptions& o) {
  if (o.model.model.ends_with(".json")) return by_config(o.model.model, o.model.quantization);
  const std::string path = find_model(o.model.model).path;
  std::shared_ptr<const Checkpoint> found = open_checkpoint(path, o.model.tensor_names);
  if (o.model.quantization.empty()) return found;
  if (found->names().empty()) return by_config(path + "/config.json", o.model.quantization);
  log(LogLevel::warn, "--quantization {}: the weights are here and decide", o.model.quantization);
  return found;
}

DeviceModel device_of(const PlanOptions& o, const Topology& machine) {
  DeviceModel d;
  if (o.device == "cpu") {
    d.name = "cpu";
    d.count = o.model.world();
    d.memory_bytes = machine.available_bytes;
    d.is_shared = true;
  } else if (o.device == "custom") {
    d.name = "custom";
    d.count = o.model.world();
  } else {
    d = parse_device(o.device);
  }
  if (!o.device_memory.empty()) d.memory_bytes = parse_count(o.device_memory, "--device-memory");
  if (o.bandwidth_gb > 0) d.bytes_per_s = o.bandwidth_gb * kGb;
  if (o.tflops > 0) d.flops_per_s = o.tflops * kTera;
  if (o.nodes > 1) d.link_bytes_per_s = o.network_gb * kGb, d.link_latency_s = 50 * kMicro;
  if (o.link_gb > 0) d.link_bytes_per_s = o.link_gb * kGb;
  if (o.disk_gb > 0) d.disk_bytes_per_s = o.disk_gb * kGb;
  if (o.link_us > 0) d.link_latency_s = o.link_us * kMicro;
  if (d.memory_bytes <= 0)
    fail(ErrorCode::invalid_argument, "--device {}: --device-memory is needed", o.device);
  return d;
}

// A page of some 1,200 tokens, where no processor file says how large pictures get.
std::optional<MediaInput> usual_picture(const Config& config) {
  const auto vision = config.find("vision_config");
  if (!vision) return std::nullopt;
  MediaInput out;
  const int64_t side = vision->integer_or("patch_size", 14, 1, 1024);
  const int64_t frames = config.string_or("model_type", "") == "hunyuan_vl" ? 1 : 2;
  out.grid_h = 60, out.grid_w = 80;
  out.rows = out.grid_h * out.grid_w;
  out.row_size =
      vision->integer_or("in_chans", vision->integer_or("in_channels", 3, 1, 64), 1, 64) *
      vision->integer_or("temporal_patch_size", frames, 1, 64) * side * side;
  const int64_t merge = vision->integer_or("spatial_merge_size", 2, 1, 64);
  out.tokens = out.rows / (merge * merge);
  return out;
}

PlanRequest request_of(const PlanOptions& o) {
  const Topology machine = probe_topology();
  PlanRequest q;
  q.subjects.checkpoint = open_for_plan(o);
  q.device = device_of(o, machine);
  q.utilization = o.model.memory_utilization;
  const bool is_cpu = o.device == "cpu";
  q.subjects.isa = is_cpu ? chosen_isa(o.model, machine) : Isa::avx512_bf16;
  q.subjects.activation = is_cpu ? chosen_activation(o.model, q.subjects.isa) : Activation::bf16;
  q.subjects.kv_dtype = chosen_kv_dtype(o.model, q.subjects.activation);
  q.subjects.building.int8_head = o.model.int8_head;
  q.may_leave_experts = o.model.expert_memory != "all";
  if (q.may_leave_experts && o.model.expert_memory != "auto")
    q.most_expert_bytes = parse_count(o.model.expert_memory, "--expert-memory");
  q.subjects.largest = usual_picture(q.subjects.checkpoint->config());
  q.degrees = {.tensor = o.model.tensor_parallel_size,
               .stages = o.model.pipeline_parallel_size,
               .proportions = o.model.tensor_parallel_split};
  if (q.degrees.world() == 1) q.degrees.tensor = q.device.count;
  if (q.degrees.world() > q.device.count && !is_cpu)
    fail(ErrorCode::invalid_argument,
         "--device {}: {} ranks need {} devices",
         o.device,
         q.degrees.world(),
         q.degrees.world());
  const std::string folder =
      o.model.model.ends_with(".json") ? std::string() : find_model(o.model.model).path;
  const auto pooling = choose_pooling(o.model.pooling, folder, *q.subjects.checkpoint);
  EngineConfig& c = q.subjects.config;
  if (pooling) {
    q.subjects.building.output = pooling->pooling.output;
    c.pooling = pooling->pooling.type;
  }
  c.max_num_seqs = o.model.max_num_seqs;
  c.block_size = o.model.block_size;
  c.max_num_batched_tokens = chosen_batched_tokens(o.model);
  o.model.scheduling.apply(c);
  q.axes = axes_of(q.subjects);
  const int64_t most = q.axes.max_positions;
  c.max_model_len = chosen_length(o.model, most, std::min<int64_t>(most, 4096));
  return q;
}

// Over machines that were measured: which take part, and as what.
int plan_over_machines(const PlanOptions& o, const PlanRequest& q) {
  const MachineMap map = MachineMap::parse(read_json_file(o.net_check), o.net_check);
  const std::vector<Layout> found = layouts(q, map);
  const std::string out = o.json ? layout_json(found, map, o.model.model).dump(1) + "\n"
                                 : layout_text(found, map, o.model.model);
  std::fputs(out.c_str(), stdout);
  if (!o.json)
    for (const std::string& odd : oddities(map)) std::printf("\n%s\n", odd.c_str());
  return found.front().works() ? kExitDone : kExitMemory;
}

int plan(const PlanOptions& o) {
  set_log_level(LogLevel::warn);
  o.model.validate_parallel();
  const PlanRequest q = request_of(o);
  if (!o.net_check.empty()) return plan_over_machines(o, q);
  const Deployment d = plan_deployment(q);
  const std::string change = d.fits() ? "" : remedy(q);
  const auto survey = o.no_degrees ? std::vector<DegreeRow>() : survey_degrees(q, kMostDegrees);
  const std::string out =
      o.json ? report_json(q, d, survey, change).dump(1) + "\n" : report_text(q, d, survey, change);
  std::fputs(out.c_str(), stdout);
  return d.fits() ? kExitDone : kExitMemory;
}

void add_device_options(CLI::App& command, PlanOptions& o) {
  constexpr const char* kGroup = "Devices";
  std::string presets;
  for (const DeviceModel& preset : device_presets()) presets += " " + preset.name;
  command
      .add_option("--device",
                  o.device,
                  "cpu (this machine), custom, or [N x] one of" + presets + "; -tp defaults to N")
      ->group(kGroup)
      ->capture_default_str();
  command.add_option("--device-memory", o.device_memory, "bytes of one device (24G)")
      ->group(kGroup);
  const auto add = [&](const char* flag, double& value, const char* help) {
    command.add_option(flag, value, help)->group(kGroup)->check(CLI::PositiveNumber);
  };
  add("--device-bandwidth", o.bandwidth_gb, "GB/s read from a device's memory");
  add("--device-flops", o.tflops, "TFLOP/s of 16-bit products of a device");
  add("--link-bandwidth", o.link_gb, "GB/s between two devices, one way");
  add("--link-latency", o.link_us, "microseconds of one small sum over all ranks");
  add("--disk-bandwidth",
      o.disk_gb,
      "GB/s at which experts that stay in the file are read (this machine's memory alone)");
  add("--network-bandwidth", o.network_gb, "GB/s between machines, with --nodes (1.25)");
  command
      .add_option("--net-check",
                  o.net_check,
                  "what quern net-check --json measured: which of those machines take part, as "
                  "tensor ranks or stages, with the command of each")
      ->group(kGroup);
  command.add_option("--nodes", o.nodes, "machines that the ranks are spread over")
      ->group(kGroup)
      ->check(CLI::Range(1, 64));
}

}  // namespace

void add_plan_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<PlanOptions>();
  CLI::App* command = parent.add_subcommand(
      "plan",
      "will it run, and how dealt out: by config.json or headers, before anything is loaded");
  add_model_options(*command, o->model);
  add_pooling_options(*command, o->model.pooling);
  command->remove_option(
      command->get_option("--device"));  // elsewhere a habit; here it has a meaning
  add_device_options(*command, *o);
  command->add_flag("--no-degrees", o->no_degrees, "leave out the survey of degrees 1 to 16");
  command->add_flag("--json", o->json, "one JSON object");
  command->callback([o, &exit_code] { exit_code = plan(*o); });
}

}  // namespace quern
