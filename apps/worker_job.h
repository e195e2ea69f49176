// SPDX-License-Identifier: Apache-2.0
// WorkerJob: all that one rank is told by the front. Everything is settled there: a worker chooses
// nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/topology.h"
#include "nn/pooling.h"
#include "tensor/ctx.h"
#include "tensor/dtype.h"
#include "tensor/shard.h"
#include "weights/checkpoint.h"

namespace quern {

// Where a world rank stands: ranks of one stage are neighbours.
struct RankPlace {
  int rank = 0;  // in the world of tensor_size * stages
  int tensor_size = 1, stages = 1;
  std::vector<double> split;  // proportions of the tensor ranks; empty: equal

  int tensor_rank() const { return rank % tensor_size; }
  int stage() const { return rank / tensor_size; }
  int world() const { return tensor_size * stages; }
  // World ranks that share its layers, and those with the same part of other stages.
  std::vector<int> tensor_group() const;
  std::vector<int> stage_group() const;
  Shard shard() const { return Shard(tensor_rank(), tensor_size, split); }
  Shard stage_shard() const { return Shard(stage(), stages); }
  // The rank whose logits are the answer: the first of the last stage.
  int answering_rank() const { return (stages - 1) * tensor_size; }
};

struct WorkerJob {
  uint64_t epoch = 1;
  RankPlace place;
  std::string model;        // a path
  uint64_t model_mark = 0;  // of the checkpoint: see mark_of; another one is refused
  std::string tensor_names =
      {};  // a file, at the same path on every machine; empty: the model's own
  Isa isa = Isa::scalar;
  Activation activation = Activation::f32;
  DType kv_dtype = DType::f32;
  bool int8_head = false;
  Output output = Output::logits;
  int threads = 1;
  std::vector<int> cpus;  // bound to them; empty: anywhere
  int64_t num_blocks = 0;
  int block_size = 16;
  int64_t arena_bytes = 0;
  std::optional<int64_t> expert_memory_bytes = {};  // empty: all experts are loaded
  int timeout_ms = 0;                               // of every wait for other ranks
  // Which of its groups meet over TCP; the others share memory.
  bool has_tcp_ranks = false, has_tcp_stages = false;
  std::string listen_host = {};  // where it waits for others, then; not a wildcard
  std::string secret = {};       // what they have to know
  std::string log_level = "info";

  std::string to_text() const;
  // Throws data_loss: front and worker are of one build, so whatever is wrong was damaged.
  static WorkerJob parse(const std::string& text);
};

// What a node tells the worker that it starts: where its job is to be had, and what the head cannot
// know.
struct WorkerSummons {
  std::string head, secret;  // HOST:PORT
  uint64_t epoch = 1;
  int rank = 0;
  std::string model, listen_host;  // on this machine
  int threads = 1;
  std::vector<int> cpus;

  std::string to_text() const;
  static WorkerSummons parse(const std::string& text);  // throws data_loss
};

// A hash of what a checkpoint holds by name, type and shape, and of its configuration: whether two
// machines have the same model, as far as can be told without reading it.
uint64_t mark_of(const Checkpoint& checkpoint);

}  // namespace quern
