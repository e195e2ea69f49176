// SPDX-License-Identifier: Apache-2.0
// From flags to a model that answers: found, planned on meta, loaded, put behind an engine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/engine_service.h"
#include "base/clock.h"
#include "engine/memory_plan.h"
#include "model_options.h"
#include "nn/model.h"
#include "nn/owned_ctx.h"
#include "packed_cache.h"
#include "prompt/prompt_builder.h"
#include "weights/model_path.h"
#include "worker_group.h"

namespace quern {

// A model without an engine: for `eval`. Several ranks are threads of this process.
struct OpenedModel {
  ResolvedModel source;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<PromptBuilder> prompts;
  std::unique_ptr<OwnedCtx> ctx;
  std::shared_ptr<const Model> model;
  std::unique_ptr<PackedCache> cache;  // of --packed-cache; else null
};
OpenedModel open_model(const ModelOptions& options);

struct LoadOptions {
  std::vector<std::string> served_names;  // empty: what the model was asked for by
  bool generation_config = true;          // sampling defaults of the model; false: those of the API
  // Names of parsers (api/parsers/registry.h), "auto" or "none".
  std::string tool_parser = "auto", reasoning_parser = "auto";
  // A folder of them, for a model that speaks; empty: none.
  std::string voices = {};
  // Called, by the engine's thread, when workers were lost so often that none are started any more.
  std::function<void()> on_workers_gone;
  std::function<void(const StepShape&, int64_t)> on_step = {};  // EngineConfig::on_step
};

class LoadedModel {
 public:
  // Logs what was chosen, the memory plan and how long things took. Throws what finding, planning
  // and loading throw.
  static std::unique_ptr<LoadedModel> load(const ModelOptions& options,
                                           const LoadOptions& load = {});

  ~LoadedModel();

  const std::string& name() const { return service_->info().names.front(); }
  Service& service() { return *service_; }
  const MemoryPlan& plan() const { return plan_; }
  const OpenedModel& opened() const { return opened_; }
  // The prompt of a conversation in OpenAI's shape.
  std::shared_ptr<const Prompt> prepare_chat(const Json& messages) const;

 private:
  explicit LoadedModel(const MemoryPlan& plan) : plan_(plan) {}
  void start_engine(const EngineConfig& config, const KvSpec& spec);

  OpenedModel opened_;
  MemoryPlan plan_;
  MonotonicClock clock_;
  std::unique_ptr<WorkerGroup> workers_;  // null: the one rank is a thread
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<EngineService> service_;
};

}  // namespace quern
