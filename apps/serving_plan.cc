// SPDX-License-Identifier: Apache-2.0
#include "serving_plan.h"

#include <nlohmann/json.hpp>

#include "plan/report.h"

namespace quern {

std::string serving_plan(const ModelOptions& options, LoadedModel& loaded) {
  const Topology machine = probe_topology();
  const ServiceInfo& info = loaded.service().info();
  PlanRequest q;
  PlanSubjects& subjects = q.subjects;
  subjects.checkpoint = loaded.opened().checkpoint;
  subjects.isa = chosen_isa(options, machine);
  subjects.activation = chosen_activation(options, subjects.isa);
  subjects.kv_dtype = chosen_kv_dtype(options, subjects.activation);
  subjects.building.int8_head = options.int8_head;
  subjects.largest = loaded.opened().prompts->largest_medium(info.max_model_len);
  EngineConfig& config = subjects.config;
  if (info.pooling) {
    subjects.building.output = info.pooling->output;
    config.pooling = info.pooling->type;
  }
  config.max_num_seqs = options.max_num_seqs;
  config.block_size = options.block_size;
  config.max_num_batched_tokens = chosen_batched_tokens(options);
  config.max_model_len = info.max_model_len;
  options.scheduling.apply(config);
  q.axes = axes_of(subjects);
  q.device = {.name = "cpu", .count = options.world(), .is_shared = true};
  q.device.memory_bytes = machine.available_bytes;
  q.utilization = options.memory_utilization;
  q.degrees = {.tensor = options.tensor_parallel_size,
               .stages = options.pipeline_parallel_size,
               .proportions = options.tensor_parallel_split};
  return report_json(q, plan_deployment(q), {}, "").dump();
}

}  // namespace quern
