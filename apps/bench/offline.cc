// SPDX-License-Identifier: Apache-2.0
#include "bench/offline.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bell.h"
#include "bench/kernel_plot.h"
#include "command_line.h"
#include "model_source.h"
#include "weights/checkpoint.h"

namespace quern::bench {
namespace {

std::string name_of_inputs(Activation activation) {
  switch (activation) {
    case Activation::f32:
      return "float32";
    case Activation::bf16:
      return "bf16";
    case Activation::f16:
      return "float16";
    case Activation::int8:
      return "int8";
  }
  return "";
}

SamplingParams greedy(int tokens) {
  SamplingParams out;
  out.temperature = 0;
  out.max_tokens = tokens;
  out.ignore_eos = true;
  return out;
}

void check_length(const Config& config, const Demand& demand) {
  const int64_t most = config.sub_or_self("text_config").integer_or("max_position_embeddings", 0);
  if (most > 0 && demand.sequence_tokens > most)
    fail(ErrorCode::invalid_argument,
         "prompts and answers of {} tokens: this model was made for {} positions; ask for a "
         "smaller --input-len or --output-len",
         demand.sequence_tokens,
         most);
}

std::vector<LinearShape> known_shapes(const Config& config) {
  try {
    return linear_shapes(config);
  } catch (const Error&) {  // a family whose products are not known: no share of the peak then
    return {};
  }
}

void make_room(ModelOptions& options, const Demand& demand) {
  options.max_num_seqs = std::max(options.max_num_seqs, demand.sequences);
  if (options.max_model_len == "auto" || options.max_model_len == "-1")
    options.max_model_len = std::to_string(demand.sequence_tokens);
  const int64_t given = parse_count(options.max_model_len, "--max-model-len");
  if (given < demand.sequence_tokens)
    fail(ErrorCode::invalid_argument,
         "--max-model-len {}: prompts and answers have {} tokens; raise it or leave it out",
         given,
         demand.sequence_tokens);
}

// The times of one job, filled as its events come.
struct Running {
  std::shared_ptr<EventStream> stream;
  JobTimes times;

  // True once the stream has ended.
  bool drain(const Clock& clock, int64_t begin_us) {
    TokenEvent event;
    while (stream->try_pop(event)) {
      if (event.finish == FinishReason::error) throw Error(event.error_code, event.error);
      if (event.token < 0) continue;
      times.last_s = static_cast<double>(clock.now_us() - begin_us) * 1e-6;
      if (times.tokens++ == 0) times.first_s = times.last_s;
    }
    return stream->is_finished();
  }
};

}  // namespace

Json OfflineModel::to_json() const {
  return {{"model", loaded->service().info().root},
          {"load_s", load_s},
          {"activation", activation},
          {"kv_dtype", loaded->service().info().kv_dtype},
          {"step_bytes", step_bytes}};
}

double step_bytes(const Checkpoint& checkpoint) {
  const bool has_own_head = checkpoint.has("lm_head.weight") || checkpoint.has("lm_head.qweight");
  double sum = 0;
  for (const std::string& name : checkpoint.names()) {
    const bool is_tower = name.starts_with("visual.");
    const bool is_table = has_own_head && name.starts_with("model.embed_tokens.");
    if (!is_tower && !is_table) sum += static_cast<double>(checkpoint.bytes(name).size());
  }
  return sum;
}

OfflineModel load_for_bench(ModelOptions options, const Demand& demand) {
  OfflineModel out;
  {
    const std::unique_ptr<Checkpoint> checkpoint =
        open_checkpoint(find_model(options.model).path, options.tensor_names);
    check_length(checkpoint->config(), demand);
    out.step_bytes = bench::step_bytes(*checkpoint);
    out.shapes = known_shapes(checkpoint->config());
  }
  make_room(options, demand);
  const Topology machine = probe_topology();
  out.isa = chosen_isa(options, machine);
  out.activation = name_of_inputs(chosen_activation(options, out.isa));
  out.threads = options.threads > 0 ? options.threads : std::max(1, machine.physical_cores);
  const MonotonicClock clock;
  const int64_t begin = clock.now_us();
  out.loaded = LoadedModel::load(options);
  out.load_s = static_cast<double>(clock.now_us() - begin) * 1e-6;
  return out;
}

std::vector<JobTimes> run_jobs(Service& service, const std::vector<Job>& jobs) {
  std::vector<std::shared_ptr<const Prompt>> prompts;
  for (const Job& job : jobs) prompts.push_back(service.prepare(job.prompt, false));
  Bell bell;
  const MonotonicClock clock;
  std::vector<Running> running(jobs.size());
  const int64_t begin_us = clock.now_us();
  for (size_t i = 0; i < jobs.size(); ++i) {
    running[i].stream = service.submit({.id = format("bench-{}", i),
                                        .prompt = prompts[i],
                                        .params = greedy(jobs[i].output_tokens)});
    running[i].stream->set_notify([&bell] { bell.ring(); });
  }
  for (bool is_done = false; !is_done;) {
    is_done = true;
    for (Running& job : running) is_done &= job.drain(clock, begin_us);
    if (!is_done) bell.wait();
  }
  std::vector<JobTimes> out;
  for (Running& job : running) {
    job.stream->set_notify({});
    out.push_back(job.times);
  }
  return out;
}

}  // namespace quern::bench
