// SPDX-License-Identifier: Apache-2.0
// A model behind its engine, without a server, and batches through it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/roofs.h"
#include "bench/shapes.h"
#include "loaded_model.h"
#include "model_options.h"

namespace quern::bench {

// The longest and widest work that the model must be able to take.
struct Demand {
  int64_t sequence_tokens = 0;  // prompt and answer
  int sequences = 1;
};

struct OfflineModel {
  std::unique_ptr<LoadedModel> loaded;
  double load_s = 0;
  Isa isa = Isa::scalar;
  std::string activation;  // "float32", "bf16", "float16" or "int8"
  int threads = 1;
  double step_bytes = 0;            // of the checkpoint, read in each decoding step
  std::vector<LinearShape> shapes;  // empty where the config has none that are known

  Service& service() const { return loaded->service(); }
  Json to_json() const;
};

// Loads with room for `demand`. Throws invalid_argument, with the numbers, before weights are read
// if the model is too short for it.
OfflineModel load_for_bench(ModelOptions options, const Demand& demand);

// Bytes of a checkpoint that one decoding step reads: all but towers and, where the head is a
// matrix of its own, the embeddings.
double step_bytes(const Checkpoint& checkpoint);

struct Job {
  std::vector<int32_t> prompt;
  int output_tokens = 1;
};
struct JobTimes {
  double first_s = 0, last_s = 0;  // since all jobs were submitted
  int64_t tokens = 0;
};

// Submits all jobs and waits for their ends; greedy, ignoring ends of sequences. Throws the Error
// of a job that failed.
std::vector<JobTimes> run_jobs(Service& service, const std::vector<Job>& jobs);

}  // namespace quern::bench
